#!/bin/sh
# Puts secrets that are mounted as files into the environment, each under the file's name, and
# prepares the instance's directory; then becomes the command.
set -eu

for file in "${QUANT_SECRETS:-/run/secrets}"/*; do
    [ -f "$file" ] || continue
    name=$(basename "$file")
    case $name in
        *[!A-Z0-9_]* | [0-9]*)
            echo "$file: a secret is named as its variable: capitals, digits and _" >&2
            exit 2
            ;;
    esac
    export "$name=$(cat "$file")"
done

# Several containers share the directory: each finds the file whole.
mkdir -p "$DAGSTER_HOME"
fresh=$(mktemp "$DAGSTER_HOME/.dagster.yaml.XXXXXX")
cat "${QUANT_INSTANCE:-/etc/quant/dagster.yaml}" > "$fresh"
mv "$fresh" "$DAGSTER_HOME/dagster.yaml"
exec "$@"
