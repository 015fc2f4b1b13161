"""Types, signatures and answers as JSON schemas, and values checked by them."""

from xz_magics.schemas.signatures import SchemaError, Signature

__all__ = ["SchemaError", "Signature"]
