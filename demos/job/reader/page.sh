#!/bin/sh
# Runs the notebook every half a minute, and serves what came of it as a page.
set -eu
mkdir -p /tmp/page
python3 -m http.server --bind 0.0.0.0 --directory /tmp/page 8080 &
while :; do
    if jupyter nbconvert --log-level WARN --execute --to html --output-dir /tmp --output index.html /opt/reader/changes.ipynb; then
        mv /tmp/index.html /tmp/page/index.html
        sleep 30
    else
        # cron may be about to write its first files.
        sleep 2
    fi
done
