"""Types, signatures and answers as JSON schemas, and values checked by them."""

from xz_magics.schemas.faults import NoSchemaError, SchemaError
from xz_magics.schemas.signatures import Signature

__all__ = ["NoSchemaError", "SchemaError", "Signature"]
