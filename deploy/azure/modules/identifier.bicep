extension microsoftGraphV1

metadata description = 'The second step of the registration. Properties that are not named here do not change.'

param name string
param uniqueName string
param clientId string

resource application 'Microsoft.Graph/applications@v1.0' = {
  displayName: name
  uniqueName: uniqueName
  identifierUris: ['api://${clientId}']
}
