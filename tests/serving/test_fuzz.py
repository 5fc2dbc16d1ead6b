"""Requests made from the OpenAPI schema, valid and not, are answered as the schema says."""

from __future__ import annotations

import warnings
from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what its own dependencies deprecate is not ours
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import status_code_conformance


def test_no_request_made_from_the_schema_is_a_500(port: int) -> None:
    """Whatever is sent to any operation, the server does not fail, and answers with a status that the schema lists."""
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) >= 8
    asked: set[str] = set()
    for operation in operations:
        for mode in schemathesis.GenerationMode:

            @settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy(generation_mode=mode))
            def check(case: schemathesis.Case) -> None:
                asked.add(case.path)
                case.call_and_validate(checks=[not_a_server_error, status_code_conformance])

            with suppress(Unsatisfiable):  # nothing can be wrong about a request without parameters
                check()
    assert len(asked) == len(operations)
