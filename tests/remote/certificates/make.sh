#!/usr/bin/env bash
# Makes the certificates of tests/remote/tls.rs anew. They are good for a hundred years, but
# for the one that has expired.
set -euo pipefail
cd -- "$(dirname -- "$0")"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# certificate NAME END EXTENSION...: signed by the authority, which signs itself
certificate() {
    local name=$1 end=$2
    shift 2
    touch "$scratch/index"
    {
        printf '[ca]\ndefault_ca=test\n[test]\ndatabase=%s/index\nrand_serial=yes\n' "$scratch"
        printf 'new_certs_dir=%s\ndefault_md=sha256\npolicy=any\n' "$scratch"
        printf '[any]\ncommonName=supplied\n[extensions]\n'
        printf '%s\n' "$@"
    } >"$scratch/config"
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$name.key" 2>/dev/null
    openssl req -new -key "$name.key" -subj "/CN=$name" -out "$scratch/request"
    local signer=(-cert authority.pem -keyfile authority.key)
    [[ $name != authority ]] || signer=(-selfsign -keyfile authority.key)
    openssl ca -batch -notext -config "$scratch/config" "${signer[@]}" -extensions extensions \
        -startdate 20200101000000Z -enddate "$end" -in "$scratch/request" -out "$name.pem" \
        2>/dev/null
}

late=21200101000000Z
certificate authority $late basicConstraints=critical,CA:TRUE keyUsage=keyCertSign
certificate engine $late subjectAltName=DNS:localhost extendedKeyUsage=serverAuth
certificate expired 20200102000000Z subjectAltName=DNS:localhost extendedKeyUsage=serverAuth
certificate user $late subjectAltName=DNS:user extendedKeyUsage=clientAuth
rm authority.key
