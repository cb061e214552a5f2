metadata description = 'The virtual network: one subnet for the apps, one for the database, one for private endpoints.'

param name string
param location string
param tags object
@description('Addresses that nothing else uses. Not within 100.100.0.0/16, of which Container Apps reserves most.')
param addressPrefix string = '10.80.0.0/22'
@description('Each replica uses an address, and twice as many are used while a revision replaces another. At least a /27.')
param appsPrefix string = '10.80.0.0/24'
param databasePrefix string = '10.80.1.0/27'
param endpointsPrefix string = '10.80.1.32/27'

module network 'br/public:avm/res/network/virtual-network:0.10.1' = {
  name: 'network'
  params: {
    name: name
    location: location
    tags: tags
    addressPrefixes: [addressPrefix]
    enableTelemetry: false
    subnets: [
      {
        name: 'apps'
        addressPrefix: appsPrefix
        delegation: 'Microsoft.App/environments'
      }
      {
        name: 'database'
        addressPrefix: databasePrefix
        delegation: 'Microsoft.DBforPostgreSQL/flexibleServers'
      }
      {
        name: 'endpoints'
        addressPrefix: endpointsPrefix
      }
    ]
  }
}

// The name must end like this if the server is in a subnet.
module databaseZone 'br/public:avm/res/network/private-dns-zone:0.8.1' = {
  name: 'database-zone'
  params: {
    name: '${name}.private.postgres.database.azure.com'
    tags: tags
    enableTelemetry: false
    virtualNetworkLinks: [{virtualNetworkResourceId: network.outputs.resourceId}]
  }
}

module vaultZone 'br/public:avm/res/network/private-dns-zone:0.8.1' = {
  name: 'vault-zone'
  params: {
    name: 'privatelink.vaultcore.azure.net'
    tags: tags
    enableTelemetry: false
    virtualNetworkLinks: [{virtualNetworkResourceId: network.outputs.resourceId}]
  }
}

output networkId string = network.outputs.resourceId
output appsSubnetId string = network.outputs.subnetResourceIds[0]
output databaseSubnetId string = network.outputs.subnetResourceIds[1]
output endpointsSubnetId string = network.outputs.subnetResourceIds[2]
output databaseZoneId string = databaseZone.outputs.resourceId
output vaultZoneId string = vaultZone.outputs.resourceId
