#!/bin/sh
# The container's command in Container Apps, which has no hook before SIGTERM. It is not documented that the ingress sends
# no requests by then. So the server gets the signal some seconds later, and serves requests until then.
trap 'sleep 10; kill "$!"; wait "$!"; exit $?' TERM
postern serve &
wait "$!"
