"""Start a deployment with the SDK and wait for it: run.py DEPLOYMENT JSON_PARAMETERS."""

import json
import sys

from prefect.deployments import run_deployment

run = run_deployment(sys.argv[1], parameters=json.loads(sys.argv[2]), timeout=90, poll_interval=0.5, as_subflow=False)
print(f"{run.id} {run.state.name}")
