// One revision of Postern. `azd deploy` deploys this with each new image.
targetScope = 'resourceGroup'

param environmentName string
param location string = resourceGroup().location
@description('The image, as the registry names it.')
param image string
@description('The host name of the registry that the image is in.')
param registry string
param appsId string
param appsDomain string
param identityId string
param identityClientId string
@description('The name of Postern\'s role in the database: that of its identity.')
param identityName string
param databaseHost string
param vaultUrl string
@description('The client id of the app registration.')
param clientId string
@description('The addresses from which the ingress of Container Apps calls: the ranges that an environment with workload profiles reserves for itself.')
param trustedProxies string = '100.100.0.0/17,100.100.128.0/19,100.100.160.0/19,100.100.192.0/19'
@description('Networks that may call, separated by commas. Empty: all networks. Callers still need a token.')
param allowedNetworks string = ''
@description('The file of people, connections and triggers in the image, as workflows/postern.toml. Empty: there is none.')
param config string = ''
@description('The name in the vault of the key that seals the tokens of connections that people grant. Empty: there are none.')
param grantsKeyName string = ''
@description('The name in the vault of the key that signs the audit log. Empty without one.')
param auditKeyName string = ''
@description('The name in the vault of the key that seals durable runs. Empty: their bodies are in the database as they are.')
param durableKeyName string = ''
@description('`true` if main.bicep made the larger database.')
param production string = 'false'
param minReplicas int = 2
@description('The smaller database allows 35 connections, a replica uses up to 5, and two revisions may run at a time.')
param maxReplicas int = toLower(production) == 'true' ? 10 : 3

var name = 'ca-${environmentName}'
var networks = empty(allowedNetworks) ? [] : split(allowedNetworks, ',')
var address = 'https://${name}.${appsDomain}'
var settings = {
  POSTERN_TENANT_ID: tenant().tenantId
  POSTERN_CLIENT_ID: clientId
  POSTERN_AUDIENCE: '${clientId},api://${clientId}'
  POSTERN_AZURE_CREDENTIAL: 'managed_identity'
  AZURE_CLIENT_ID: identityClientId
  POSTERN_KEY_VAULT_URL: vaultUrl
  POSTERN_DATABASE_URL: 'postgresql://${identityName}@${databaseHost}/postern?sslmode=verify-full&passwordless=entra'
  POSTERN_PUBLIC_URL: address
  POSTERN_TRUSTED_PROXIES: trustedProxies
  POSTERN_HOST: '0.0.0.0'
  POSTERN_PORT: '8080'
  POSTERN_LOG_FORMAT: 'json'
}

var options = union(
  empty(config) ? {} : {POSTERN_CONFIG: config},
  empty(grantsKeyName) ? {} : {POSTERN_GRANTS_KEY_NAME: grantsKeyName},
  empty(auditKeyName) ? {} : {POSTERN_AUDIT_KEY_NAME: auditKeyName},
  empty(durableKeyName) ? {} : {POSTERN_DURABLE_KEY_NAME: durableKeyName}
)

module app 'br/public:avm/res/app/container-app:0.23.0' = {
  name: 'app-${uniqueString(image)}'
  params: {
    name: name
    location: location
    tags: {'azd-env-name': environmentName, 'azd-service-name': 'postern'}
    enableTelemetry: false
    environmentResourceId: appsId
    workloadProfileName: 'Consumption'
    managedIdentities: {userAssignedResourceIds: [identityId]}
    registries: [{server: registry, identity: identityId}]
    activeRevisionsMode: 'Single' // the old revision serves until the new one is ready
    ingressExternal: true
    ingressAllowInsecure: false
    ingressTargetPort: 8080
    ingressTransport: 'http'
    ipSecurityRestrictions: [
      for (network, n) in networks: {name: 'network-${n}', action: 'Allow', ipAddressRange: trim(network)}
    ]
    // The pause of serve.sh, the server's grace of 30 s, and time for the last records.
    terminationGracePeriodSeconds: 60
    scaleSettings: {
      minReplicas: minReplicas
      maxReplicas: maxReplicas
      rules: [{name: 'requests', http: {metadata: {concurrentRequests: '50'}}}]
    }
    containers: [
      {
        name: 'postern'
        image: image
        resources: {cpu: json('1.0'), memory: '2Gi'} // one process serves and one writes
        command: ['/bin/sh', '-c']
        args: [loadTextContent('serve.sh')]
        env: [
          for setting in items(union(settings, options)): {
            name: setting.key
            value: setting.value
          }
        ]
        probes: [
          {
            type: 'Startup'
            httpGet: {path: '/healthz', port: 8080}
            periodSeconds: 6
            timeoutSeconds: 3
            failureThreshold: 10
          }
          {
            type: 'Liveness'
            httpGet: {path: '/healthz', port: 8080}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 3
          }
          {
            type: 'Readiness'
            httpGet: {path: '/readyz', port: 8080}
            periodSeconds: 5
            timeoutSeconds: 4 // each of its checks has 3 s
            failureThreshold: 2
          }
        ]
      }
    ]
  }
}

output POSTERN_PUBLIC_URL string = address
output APP_NAME string = name
