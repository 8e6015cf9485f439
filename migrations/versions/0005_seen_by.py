"""Lists pass over nothing that another team keeps to itself: who sees a row is a column, and in the lists' indexes."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

SEEN_BY = "CASE WHEN visibility = 'shared' THEN '' ELSE team_id END"
BEFORE = ("source", "accelerator", "model_family", "status", "model_name")
NOW = ([], *([column] for column in BEFORE), ["model_name", "accelerator"])


def upgrade() -> None:
    """Adds the column, and replaces the indexes that lists are read from."""
    # SQLite adds no column that it would have to write into every row: there the value is kept in the indexes alone.
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    stored = True if on_postgresql else None
    op.add_column("measurements", sa.Column("seen_by", sa.String(40), sa.Computed(SEEN_BY, persisted=stored)))
    for column in BEFORE:
        op.drop_index(f"ix_measurements_{column}_sequence", "measurements")
    for columns in NOW:
        op.create_index(_name(columns), "measurements", [*columns, "seen_by", "sequence"])
    if on_postgresql:
        # Nothing else would make it look at a column in which no row has changed since.
        op.execute("ANALYZE measurements")


def downgrade() -> None:
    """Puts the former ones back."""
    for columns in NOW:
        op.drop_index(_name(columns), "measurements")
    for column in BEFORE:
        op.create_index(f"ix_measurements_{column}_sequence", "measurements", [column, "sequence"])
    op.drop_column("measurements", "seen_by")


def _name(columns: list[str]) -> str:
    return "_".join(("ix_measurements", *columns, "seen_by_sequence"))
