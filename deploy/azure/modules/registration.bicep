extension microsoftGraphV1

metadata description = 'The app registration: the audience of tokens, and the application as which Postern calls its own workflows.'

param name string
@description('An alternate key of the registration. It never changes, so that each deployment finds the same one.')
param uniqueName string
@description('The object id of the identity that Postern runs as. Its tokens are the registration\'s only credential.')
param identityPrincipalId string
@description('The address at which callers and people reach Postern.')
param publicUrl string
@description('The names of connections that people connect by this registration, separated by commas.')
param connections string

var registration = loadJsonContent('../registration.json')
var names = empty(connections) ? [] : split(connections, ',')
var callbacks = map(names, each => '${publicUrl}/connect/${trim(each)}/callback')

resource application 'Microsoft.Graph/applications@v1.0' = {
  displayName: name
  uniqueName: uniqueName
  signInAudience: registration.signInAudience
  api: registration.api
  appRoles: registration.appRoles
  web: {redirectUris: concat(['${publicUrl}/console/callback', '${publicUrl}/console/signed-out'], callbacks)}

  resource identity 'federatedIdentityCredentials@v1.0' = {
    name: '${application.uniqueName}/managed-identity'
    description: 'The managed identity that Postern runs as'
    issuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
    subject: identityPrincipalId
    audiences: ['api://AzureADTokenExchange']
  }
}

resource servicePrincipal 'Microsoft.Graph/servicePrincipals@v1.0' = {
  appId: application.appId
}

// The identifier contains the client id, which is known after the application is made.
module identifier 'identifier.bicep' = {
  name: 'identifier'
  params: {
    name: name
    uniqueName: application.uniqueName
    clientId: application.appId
  }
}

output clientId string = application.appId
output servicePrincipalId string = servicePrincipal.id
