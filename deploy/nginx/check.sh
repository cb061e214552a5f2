#!/bin/sh
# Have nginx check postern.conf, as any user and without changing the own nginx of this machine. It uses a temporary
# folder and certificate, and ports that need no rights. The exit code is 0 if the file is valid.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=postern.example.com \
    -keyout "$prefix/privkey.pem" -out "$prefix/fullchain.pem" 2>/dev/null
sed -e "s|/etc/letsencrypt/live/postern.example.com|$prefix|" -e "s|/var/log/nginx|$prefix|" \
    -e "s|listen 80|listen 127.0.0.1:18080|" -e "s|listen 443 |listen 127.0.0.1:18443 |" \
    "$here/postern.conf" >"$prefix/postern.conf"
cat >"$prefix/nginx.conf" <<END
pid $prefix/nginx.pid;
error_log $prefix/error.log;
events {}
http {
    client_body_temp_path $prefix/body;
    proxy_temp_path $prefix/proxy;
    fastcgi_temp_path $prefix/fastcgi;
    uwsgi_temp_path $prefix/uwsgi;
    scgi_temp_path $prefix/scgi;
    include $prefix/postern.conf;
}
END
PATH="$PATH:/usr/sbin" nginx -t -e stderr -p "$prefix" -c "$prefix/nginx.conf"
