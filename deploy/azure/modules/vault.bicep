metadata description = 'The Key Vault with the secrets that connections name. Postern may only read secrets.'

param name string
param location string
param tags object
param workspaceId string
param endpointsSubnetId string
param zoneId string
@description('The object id of the identity that Postern runs as.')
param identityPrincipalId string
@description('Addresses or networks from which secrets may be put, separated by commas. Empty: the virtual network only.')
param allowedAddresses string

var addresses = empty(allowedAddresses) ? [] : split(allowedAddresses, ',')

module vault 'br/public:avm/res/key-vault/vault:0.14.0' = {
  name: 'vault'
  params: {
    name: name
    location: location
    tags: tags
    enableTelemetry: false
    sku: 'standard'
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enablePurgeProtection: true
    // Access only for Postern and people with a role: not for machines or templates of the subscription.
    enableVaultForDeployment: false
    enableVaultForTemplateDeployment: false
    enableVaultForDiskEncryption: false
    publicNetworkAccess: empty(addresses) ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: 'None'
      defaultAction: 'Deny'
      ipRules: [for address in addresses: {value: trim(address)}]
    }
    privateEndpoints: [
      {
        service: 'vault'
        subnetResourceId: endpointsSubnetId
        privateDnsZoneGroup: {privateDnsZoneGroupConfigs: [{privateDnsZoneResourceId: zoneId}]}
      }
    ]
    roleAssignments: [
      {
        principalId: identityPrincipalId
        principalType: 'ServicePrincipal'
        roleDefinitionIdOrName: '4633458b-17de-408a-b874-0445c86b69e6' // Key Vault Secrets User
      }
    ]
    diagnosticSettings: [{workspaceResourceId: workspaceId}]
  }
}

output url string = vault.outputs.uri
output name string = vault.outputs.name
