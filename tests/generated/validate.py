"""Checks documents against a JSON Schema, as editors do.

    validate.py SCHEMA < DOCUMENTS

DOCUMENTS is a JSON list. Prints a JSON list with the problems of each, and fails when the schema itself is wrong.
"""

import json
import sys

import jsonschema

with open(sys.argv[1], encoding="utf-8") as file:
    schema = json.load(file)
jsonschema.Draft7Validator.check_schema(schema)
validator = jsonschema.Draft7Validator(schema)


def problems(document):
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


json.dump([problems(document) for document in json.load(sys.stdin)], sys.stdout)
