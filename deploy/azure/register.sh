#!/bin/sh
# Makes the app registration of Postern with the Azure CLI, for teams that may not use the Graph extension of Bicep.
# It may run again at any time: it updates an existing registration to match registration.json.
set -eu

usage() {
    cat <<'TEXT'
usage: register.sh [--name NAME] [--client-id ID] [--identity OBJECT_ID] [--public-url URL [--connection NAME]...]
                   [--dry-run]

  --name NAME           the name of the registration (postern)
  --client-id ID        an existing registration, instead of a search by name
  --identity OBJECT_ID  the managed identity whose tokens Postern signs in with: IDENTITY_PRINCIPAL_ID
                        of the deployment. Without it no credential is added.
  --public-url URL      POSTERN_PUBLIC_URL, so that people can sign in to the console there
  --connection NAME     a connection that people connect by this registration, as my-mail. It may be repeated.
  --dry-run             change nothing, and show what would be done
TEXT
}

fail() {
    echo "register.sh: $1" >&2
    exit 1
}

name=postern client_id='' identity='' public_url='' connections='' dry_run=''
while [ $# -gt 0 ]; do
    case $1 in
    --name | --client-id | --identity | --public-url | --connection)
        [ $# -ge 2 ] || fail "$1 needs a value"
        case $1 in
        --name) name=$2 ;;
        --client-id) client_id=$2 ;;
        --identity) identity=$2 ;;
        --public-url) public_url=${2%/} ;;
        --connection)
            case $2 in
            '' | *[!A-Za-z0-9._-]*) fail "--connection is the name of a connection, not $2" ;;
            esac
            connections="$connections $2"
            ;;
        esac
        shift 2
        ;;
    --dry-run) dry_run=yes; shift ;;
    --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
    esac
done

is_id() {
    expr "$1" : '[0-9A-Fa-f]\{8\}\(-[0-9A-Fa-f]\{4\}\)\{3\}-[0-9A-Fa-f]\{12\}$' >/dev/null
}
case $name in
*[!A-Za-z0-9\ ._\(\)-]* | '') fail "--name allows only letters, digits, spaces and ._()-" ;;
esac
[ -z "$client_id" ] || is_id "$client_id" || fail "--client-id is not an id"
[ -z "$identity" ] || is_id "$identity" || fail "--identity is not an object id"
case $public_url in
'') ;;
*[!A-Za-z0-9./:_~-]*) fail "--public-url is not an address without a query" ;;
https://?* | http://localhost | http://localhost:* | http://localhost/*) ;;
*) fail "--public-url begins with https:// (http on localhost only)" ;;
esac
command -v az >/dev/null || fail "the Azure CLI is not installed: https://aka.ms/azure-cli"

folder=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
[ -r "$folder/registration.json" ] || fail "$folder/registration.json cannot be read"

say() { echo "- $1" >&2; }
# Runs an az command, or only shows it with --dry-run. The output of az is not shown.
change() {
    say "$1"
    shift
    [ -n "$dry_run" ] || az "$@" --output none
}

tenant=$(az account show --query tenantId --output tsv) || fail "sign in first: az login --tenant TENANT"
cloud=$(az cloud show --query name --output tsv)
graph=$(az cloud show --query endpoints.microsoftGraphResourceId --output tsv)
login=$(az cloud show --query endpoints.activeDirectory --output tsv)
graph=${graph%/} login=${login%/}
case $cloud in
AzureCloud) audience=api://AzureADTokenExchange ;;
AzureUSGovernment) audience=api://AzureADTokenExchangeUSGov ;;
AzureChinaCloud) audience=api://AzureADTokenExchangeChina ;;
*) fail "the cloud $cloud is not supported" ;;
esac

if [ -z "$client_id" ]; then
    found=$(az ad app list --filter "displayName eq '$name'" --query '[].appId' --output tsv)
    # shellcheck disable=SC2086 # one id a word
    set -- $found
    [ $# -le 1 ] || fail "several registrations are called $name: choose one with --client-id"
    client_id=${1:-}
fi
if [ -z "$client_id" ]; then
    say "make the registration $name"
    if [ -n "$dry_run" ]; then
        say "then its roles, its scope, its service principal and its credential"
        exit 0
    fi
    client_id=$(az ad app create --display-name "$name" --sign-in-audience AzureADMyOrg --query appId --output tsv)
    is_id "$client_id" || fail "the Azure CLI returned no client id"
fi
object_id=$(az ad app show --id "$client_id" --query id --output tsv)
is_id "$object_id" || fail "there is no registration $client_id"

change "roles, scope and version of its tokens, as registration.json says" \
    rest --method PATCH --url "$graph/v1.0/applications/$object_id" --body "@$folder/registration.json"
# By az rest, because az ad app update would validate the whole registration.
change "its identifier api://$client_id" \
    rest --method PATCH --url "$graph/v1.0/applications/$object_id" \
    --body "{\"identifierUris\": [\"api://$client_id\"]}"

principals=$(az ad sp list --filter "appId eq '$client_id'" --query '[].id' --output tsv)
if [ -z "$principals" ]; then
    change "its service principal" ad sp create --id "$client_id"
fi

if [ -n "$identity" ]; then
    credentials=$(az ad app federated-credential list --id "$client_id" --query '[].subject' --output tsv)
    case "
$credentials
" in
    *"
$identity
"*) say "the identity $identity is its credential already" ;;
    *)
        change "the identity $identity as its credential" \
            ad app federated-credential create --id "$client_id" --parameters "{
                \"name\": \"managed-identity-$identity\",
                \"issuer\": \"$login/$tenant/v2.0\",
                \"subject\": \"$identity\",
                \"audiences\": [\"$audience\"]
            }"
        ;;
    esac
fi

if [ -n "$public_url" ]; then
    uris=$(az ad app show --id "$client_id" --query 'web.redirectUris[]' --output tsv)
    set -- "$public_url/console/callback" "$public_url/console/signed-out"
    for connection in $connections; do # names without spaces
        set -- "$@" "$public_url/connect/$connection/callback"
    done
    for uri in "$@"; do
        printf '%s\n' "$uris" | grep -Fqx -e "$uri" || uris="$uris
$uri"
    done
    # A redirect URI has no quote and no space, so each line is one string.
    list=$(printf '%s\n' "$uris" | sed -e '/^$/d' -e 's/.*/"&"/' | paste -s -d , -)
    change "the redirect URIs of the console" \
        rest --method PATCH --url "$graph/v1.0/applications/$object_id" --body "{\"web\": {\"redirectUris\": [$list]}}"
fi

cat <<TEXT
POSTERN_TENANT_ID=$tenant
POSTERN_CLIENT_ID=$client_id
POSTERN_AUDIENCE=$client_id,api://$client_id
TEXT
