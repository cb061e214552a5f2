metadata description = 'PostgreSQL, reachable through the virtual network only. Sign-in with a password is off.'

param name string
param location string
param tags object
param workspaceId string
param subnetId string
param zoneId string
@description('The identity that makes the database and its role: the only administrator. No person needs to be one.')
param administratorName string
param administratorObjectId string
@description('Two machines in two zones, and backups in the paired region too.')
param production bool

module server 'br/public:avm/res/db-for-postgre-sql/flexible-server:0.16.0' = {
  name: 'database'
  params: {
    name: name
    location: location
    tags: tags
    enableTelemetry: false
    version: '17'
    skuName: production ? 'Standard_D2ds_v5' : 'Standard_B1ms'
    tier: production ? 'GeneralPurpose' : 'Burstable'
    highAvailability: production ? 'ZoneRedundant' : 'Disabled'
    availabilityZone: -1
    storageSizeGB: 32
    autoGrow: 'Enabled'
    backupRetentionDays: production ? 35 : 14
    geoRedundantBackup: production ? 'Enabled' : 'Disabled' // cannot be changed afterwards
    enableAdvancedThreatProtection: production
    authConfig: {
      activeDirectoryAuth: 'Enabled'
      passwordAuth: 'Disabled'
      tenantId: tenant().tenantId
    }
    administrators: [
      {
        objectId: administratorObjectId
        principalName: administratorName
        principalType: 'ServicePrincipal'
        tenantId: tenant().tenantId
      }
    ]
    delegatedSubnetResourceId: subnetId
    privateDnsZoneArmResourceId: zoneId
    publicNetworkAccess: 'Disabled'
    diagnosticSettings: [{workspaceResourceId: workspaceId}]
  }
}

output host string = server.outputs.fqdn ?? ''
