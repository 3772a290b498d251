"""Says of documents what a JSON Schema has against them: {"schema", "documents"} in, a list of lists of messages out."""

import json
import sys

from jsonschema import Draft7Validator

asked = json.load(sys.stdin)
Draft7Validator.check_schema(asked["schema"])
validator = Draft7Validator(asked["schema"])
print(json.dumps([[error.message for error in validator.iter_errors(document)] for document in asked["documents"]]))
