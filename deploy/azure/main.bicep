// Everything but the app itself, which app.bicep makes when there is an image. README.md beside this file has the steps.
targetScope = 'resourceGroup'

@description('The name of this installation, in the names of its resources.')
@minLength(2)
@maxLength(20)
param environmentName string
param location string = resourceGroup().location
@description('The client id of an app registration that register.sh made. Empty: this template makes one.')
param registeredClientId string = ''
@description('The names of connections that people connect by the app registration, separated by commas.')
param connections string = ''
@description('Addresses or networks from which secrets may be put into the vault, separated by commas.')
param vaultAddresses string = ''
@description('Highly available, at a higher price.')
param production bool = false
@description('Reachable from the virtual network only. This cannot be changed afterwards.')
param internal bool = false

var tags = {'azd-env-name': environmentName}
var unique = uniqueString(resourceGroup().id, environmentName)

module workspace 'br/public:avm/res/operational-insights/workspace:0.16.1' = {
  name: 'workspace'
  params: {
    name: 'log-${environmentName}'
    location: location
    tags: tags
    dataRetention: 30
    enableTelemetry: false
  }
}

// The identity that Postern runs as.
module identity 'br/public:avm/res/managed-identity/user-assigned-identity:0.6.0' = {
  name: 'identity'
  params: {
    name: 'id-${environmentName}'
    location: location
    tags: tags
    enableTelemetry: false
  }
}

// The identity that makes the database and Postern's role in it. Only the job of database-role.bicep has it.
module databaseIdentity 'br/public:avm/res/managed-identity/user-assigned-identity:0.6.0' = {
  name: 'database-identity'
  params: {
    name: 'id-${environmentName}-database'
    location: location
    tags: tags
    enableTelemetry: false
  }
}

module network 'modules/network.bicep' = {
  name: 'networks'
  params: {
    name: 'vnet-${environmentName}'
    location: location
    tags: tags
  }
}

module vault 'modules/vault.bicep' = {
  name: 'vaults'
  params: {
    name: take('kv-${unique}', 24)
    location: location
    tags: tags
    workspaceId: workspace.outputs.resourceId
    endpointsSubnetId: network.outputs.endpointsSubnetId
    zoneId: network.outputs.vaultZoneId
    identityPrincipalId: identity.outputs.principalId
    allowedAddresses: vaultAddresses
  }
}

module database 'modules/database.bicep' = {
  name: 'databases'
  params: {
    name: 'psql-${environmentName}-${unique}'
    location: location
    tags: tags
    workspaceId: workspace.outputs.resourceId
    subnetId: network.outputs.databaseSubnetId
    zoneId: network.outputs.databaseZoneId
    administratorName: databaseIdentity.outputs.name
    administratorObjectId: databaseIdentity.outputs.principalId
    production: production
  }
}

module registry 'br/public:avm/res/container-registry/registry:0.12.1' = {
  name: 'registry'
  params: {
    name: 'cr${unique}'
    location: location
    tags: tags
    enableTelemetry: false
    acrSku: 'Basic' // private endpoints need Premium; pulling and pushing need an Entra sign-in
    acrAdminUserEnabled: false
    anonymousPullEnabled: false
    azureADAuthenticationAsArmPolicyStatus: 'enabled' // Container Apps pulls with such a token
    roleAssignments: [
      {
        principalId: identity.outputs.principalId
        principalType: 'ServicePrincipal'
        roleDefinitionIdOrName: '7f951dda-4ed3-4680-a7ca-43fe172d538d' // AcrPull
      }
      {
        principalId: databaseIdentity.outputs.principalId
        principalType: 'ServicePrincipal'
        roleDefinitionIdOrName: '7f951dda-4ed3-4680-a7ca-43fe172d538d' // AcrPull
      }
    ]
    diagnosticSettings: [{workspaceResourceId: workspace.outputs.resourceId}]
  }
}

module apps 'br/public:avm/res/app/managed-environment:0.15.0' = {
  name: 'apps'
  params: {
    name: 'cae-${environmentName}'
    location: location
    tags: tags
    enableTelemetry: false
    infrastructureResourceGroupName: 'ME_cae-${environmentName}-${unique}' // it must be unique in the subscription
    internal: internal
    publicNetworkAccess: internal ? 'Disabled' : 'Enabled'
    infrastructureSubnetResourceId: network.outputs.appsSubnetId
    zoneRedundant: production
    peerTrafficEncryption: true
    workloadProfiles: [{name: 'Consumption', workloadProfileType: 'Consumption'}]
    appLogsConfiguration: {destination: 'azure-monitor'} // by the setting below: without the workspace's key
    diagnosticSettings: [{workspaceResourceId: workspace.outputs.resourceId}]
  }
}

module registration 'modules/registration.bicep' = if (empty(registeredClientId)) {
  name: 'registration'
  params: {
    name: 'Postern (${environmentName})'
    uniqueName: 'postern-${environmentName}-${unique}'
    identityPrincipalId: identity.outputs.principalId
    publicUrl: 'https://ca-${environmentName}.${apps.outputs.defaultDomain}' // as app.bicep names it
    connections: connections
  }
}

// No public DNS has the names of apps that are reachable from the virtual network only.
module appsZone 'br/public:avm/res/network/private-dns-zone:0.8.1' = if (internal) {
  name: 'apps-zone'
  params: {
    name: apps.outputs.defaultDomain
    tags: tags
    enableTelemetry: false
    a: [{name: '*', ttl: 3600, aRecords: [{ipv4Address: apps.outputs.staticIp!}]}]
    virtualNetworkLinks: [{virtualNetworkResourceId: network.outputs.networkId}]
  }
}

output AZURE_CONTAINER_REGISTRY_ENDPOINT string = registry.outputs.loginServer
output AZURE_TENANT_ID string = tenant().tenantId
output APPS_ID string = apps.outputs.resourceId
output APPS_DOMAIN string = apps.outputs.defaultDomain
output POSTERN_CLIENT_ID string = empty(registeredClientId) ? registration!.outputs.clientId : registeredClientId
output DATABASE_HOST string = database.outputs.host
output IDENTITY_CLIENT_ID string = identity.outputs.clientId
output IDENTITY_ID string = identity.outputs.resourceId
output IDENTITY_NAME string = identity.outputs.name
output IDENTITY_PRINCIPAL_ID string = identity.outputs.principalId
output ROLES_CLIENT_ID string = databaseIdentity.outputs.clientId
output ROLES_ID string = databaseIdentity.outputs.resourceId
output ROLES_NAME string = databaseIdentity.outputs.name
output VAULT_NAME string = vault.outputs.name
output VAULT_URL string = vault.outputs.url
