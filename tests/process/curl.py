"""What the documentation's curl commands need of curl, for machines that have none: -s, -i, -X, -H, -d and a URL."""

import argparse
import sys
import urllib.error
import urllib.request


def main() -> None:
    """Send one request and print the answer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-s", action="store_true")
    parser.add_argument("-i", action="store_true")
    parser.add_argument("-X", default="GET")
    parser.add_argument("-H", action="append", default=[])
    parser.add_argument("-d")
    parser.add_argument("url")
    given = parser.parse_args()
    headers = dict(line.split(": ", 1) for line in given.H)
    request = urllib.request.Request(given.url, given.d and given.d.encode(), headers, method=given.X)
    try:
        answer = urllib.request.urlopen(request, timeout=10)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        if given.i:
            print(f"HTTP/1.1 {answer.status} {answer.reason}\n{answer.headers}")
        sys.stdout.write(answer.read().decode())


if __name__ == "__main__":
    main()
