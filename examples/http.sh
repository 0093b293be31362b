#!/bin/sh
# The HTTP API of an open desk, by curl: http.sh http://127.0.0.1:8735
# Where the desk wants a token: TOKEN=... http.sh https://desk.example.org:8735
set -eu
desk=$1
export no_proxy='*'

ask() {
  curl --silent --show-error ${TOKEN:+--header "Authorization: Bearer $TOKEN"} "$@"
  echo
}

ask --fail "$desk/v1/status"
ask --fail "$desk/v1/subjects"
# with photos:
#   ask -F label="Ada Lovelace" -F photos=@ada1.jpg -F photos=@ada2.jpg "$desk/v1/entries"
#   ask -F photo=@unknown.jpg "$desk/v1/identify"
# an error has a stable code, and says what to mend:
ask --write-out ' (status %{http_code})' -X DELETE "$desk/v1/subjects/Nobody"
