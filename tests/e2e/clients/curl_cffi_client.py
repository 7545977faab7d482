"""HTTPS through the BoringSSL that the wheel `curl_cffi` carries with its symbols: curl as browsers shake hands.

Usage: curl_cffi_client.py FILE...

POSTs each FILE, a chat request, over one session. Prints one JSON line.
"""

import json
import os
import sys

import curl_cffi

URL = "https://api.openai.com/v1/chat/completions"


def main() -> None:
    received_bytes = 0
    headers = {"Content-Type": "application/json", "Authorization": "Bearer outflow-local-fixture"}
    with curl_cffi.Session(verify=os.environ["SSL_CERT_FILE"], http_version="v1") as session:
        for name in sys.argv[1:]:
            with open(name, "rb") as file:
                answer = session.post(URL, data=file.read(), headers=headers)
            answer.raise_for_status()
            received_bytes += len(answer.content)
    library = curl_cffi._wrapper.__file__
    print(json.dumps({"client": "curl_cffi", "version": curl_cffi.__version__, "tls": "", "library": library, "received_bytes": received_bytes}))


if __name__ == "__main__":
    main()
