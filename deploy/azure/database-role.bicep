// A job in the virtual network that makes Postern's database, and its role with no other right.
targetScope = 'resourceGroup'

param environmentName string
param location string = resourceGroup().location
@description('Postern\'s image: the job runs a program with the same libraries.')
param image string
param registry string
param appsId string
@description('The identity that the job runs as: the administrator of the database server.')
param rolesId string
param rolesClientId string
param rolesName string
param databaseHost string
@description('The identity that gets a role with its name: the one that Postern runs as.')
param identityName string
param identityPrincipalId string

var settings = {
  POSTERN_DATABASE_URL: 'postgresql://${rolesName}@${databaseHost}/postgres?sslmode=verify-full&passwordless=entra'
  POSTERN_AZURE_CREDENTIAL: 'managed_identity'
  AZURE_CLIENT_ID: rolesClientId
  DATABASE_ROLE: identityName
  DATABASE_ROLE_OBJECT_ID: identityPrincipalId
}

module job 'br/public:avm/res/app/job:0.7.2' = {
  name: 'job' // not this file's name, which `az` uses for the whole deployment
  params: {
    name: 'job-${environmentName}'
    location: location
    enableTelemetry: false
    environmentResourceId: appsId
    workloadProfileName: 'Consumption'
    managedIdentities: {userAssignedResourceIds: [rolesId]}
    registries: [{server: registry, identity: rolesId}]
    triggerType: 'Manual'
    manualTriggerConfig: {parallelism: 1, replicaCompletionCount: 1}
    replicaTimeout: 300
    replicaRetryLimit: 1
    containers: [
      {
        name: 'database-role'
        image: image
        command: ['/opt/postern/bin/python', '-c']
        args: [loadTextContent('database_role.py')]
        env: [for setting in items(settings): {name: setting.key, value: setting.value}]
        resources: {cpu: '0.5', memory: '1Gi'}
      }
    ]
  }
}

output jobName string = job.outputs.name
