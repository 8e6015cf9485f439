"""Calibrations are fitted by the service: how each job goes, what it was fitted on, and who may run one now."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

json_object = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
point_in_time = sa.DateTime(timezone=True)
# What the calibrations that shipped until now are told to be; rows to come state their own.
STATED: dict[str, tuple[str, sa.types.TypeEngine[Any]]] = {
    "status": ("'succeeded'", sa.String(20)),
    "trigger": ("'shipped'", sa.String(20)),
    "stage": ("'done'", sa.String(100)),
    "progress": ("1.0", sa.Double()),
    "forced": ("false", sa.Boolean()),
    "attempts": ("0", sa.Integer()),
}


def upgrade() -> None:
    """Creates the table of leases and widens that of calibrations."""
    op.create_table(
        "leases",
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("holder", sa.String(40)),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
    with op.batch_alter_table("calibrations") as table:
        for name, (value, kind) in STATED.items():
            table.add_column(sa.Column(name, kind, nullable=False, server_default=sa.text(value)))
        table.add_column(sa.Column("team_id", sa.String(40)))
        table.add_column(sa.Column("digest", sa.String(64)))
        table.add_column(sa.Column("started_at", point_in_time))
        table.add_column(sa.Column("finished_at", point_in_time))
        table.add_column(sa.Column("error", sa.String()))
        table.add_column(sa.Column("verdict", sa.String()))
        table.add_column(sa.Column("comparison", json_object))
        table.add_column(sa.Column("rows", sa.Integer()))
        table.add_column(sa.Column("submitted_rows", sa.Integer()))
        table.add_column(sa.Column("measurement_ids", sa.LargeBinary()))
        table.alter_column("fingerprint", existing_type=sa.String(64), nullable=True)
        table.alter_column("content", existing_type=sa.LargeBinary(), nullable=True)
        table.create_check_constraint(
            "ck_calibrations_status", "status IN ('queued', 'running', 'succeeded', 'failed')"
        )
    with op.batch_alter_table("calibrations") as table:
        for name, (_, kind) in STATED.items():
            table.alter_column(name, existing_type=kind, server_default=None)
    op.create_index("ix_calibrations_status", "calibrations", ["status"])
    op.create_index("ix_calibrations_created_at_version", "calibrations", ["created_at", "version"])


def downgrade() -> None:
    """Takes all of it back; calibrations without content, which 0001 has no room for, are lost."""
    op.execute("DELETE FROM calibrations WHERE content IS NULL OR fingerprint IS NULL")
    op.drop_index("ix_calibrations_created_at_version", "calibrations")
    op.drop_index("ix_calibrations_status", "calibrations")
    with op.batch_alter_table("calibrations") as table:
        table.drop_constraint("ck_calibrations_status", type_="check")
        table.alter_column("content", existing_type=sa.LargeBinary(), nullable=False)
        table.alter_column("fingerprint", existing_type=sa.String(64), nullable=False)
        for column in (
            "measurement_ids", "submitted_rows", "rows", "comparison", "verdict", "error", "finished_at", "started_at",
            "digest", "team_id", *STATED,
        ):  # fmt: skip
            table.drop_column(column)
    op.drop_table("leases")
