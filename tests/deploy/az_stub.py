"""A stub of the Azure CLI: it records its calls, and answers from a table.

AZ_STUB names a JSON file of `answers` (the beginning of a call to what is printed; null fails) and `calls`.
"""

import json
import os
import sys
from pathlib import Path

state_file = Path(os.environ["AZ_STUB"])
state = json.loads(state_file.read_text("utf-8"))
call = " ".join(sys.argv[1:])
state["calls"].append(sys.argv[1:])
state_file.write_text(json.dumps(state), "utf-8")
found = max((known for known in state["answers"] if call.startswith(known)), key=len, default=None)
answer = state["answers"][found] if found else ""
if answer is None:
    print("ERROR: refused", file=sys.stderr)
    sys.exit(1)
if answer and sys.argv[-1] != "none":
    print(answer)
