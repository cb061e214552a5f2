#!/bin/sh
# What the container runs in Container Apps, which has no hook before SIGTERM, and does not say that its ingress sends
# nothing more by then. So the server hears of the stop some seconds later, and serves what comes until then.
trap 'sleep 10; kill "$!"; wait "$!"; exit $?' TERM
postern serve &
wait "$!"
