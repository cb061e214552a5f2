extension microsoftGraphV1

metadata description = 'The second step of the registration. What is not named here stays as the first step made it.'

param name string
param uniqueName string
param clientId string

resource application 'Microsoft.Graph/applications@v1.0' = {
  displayName: name
  uniqueName: uniqueName
  identifierUris: ['api://${clientId}']
}
