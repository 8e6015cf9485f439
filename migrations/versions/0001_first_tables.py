"""The first tables: sources, measurements, calibrations, saved estimates, and what was seeded."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

json_object = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
row_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
point_in_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Creates the tables."""
    op.create_table(
        "calibrations",
        sa.Column("version", sa.String(100), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("created_at", point_in_time, nullable=False),
        sa.Column("activated_at", point_in_time),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("version", name="pk_calibrations"),
    )
    op.create_index("ix_calibrations_activated_at", "calibrations", ["activated_at"])

    op.create_table(
        "estimates",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("created_at", point_in_time, nullable=False),
        sa.Column("team", sa.String(200)),
        sa.Column("calibration", sa.String(100), nullable=False),
        sa.Column("request", json_object, nullable=False),
        sa.Column("answer", json_object, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_estimates"),
    )
    op.create_index("ix_estimates_created_at", "estimates", ["created_at"])
    op.create_index("ix_estimates_team", "estimates", ["team"])

    op.create_table(
        "seeds",
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("seeded_at", point_in_time, nullable=False),
        sa.PrimaryKeyConstraint("kind", name="pk_seeds"),
    )
    op.create_table(
        "sources",
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("publisher", sa.String()),
        sa.Column("reference", sa.String()),
        sa.Column("commit", sa.String()),
        sa.Column("date", sa.String()),
        sa.Column("licence", sa.String()),
        sa.Column("lineage", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_sources"),
    )
    op.create_table(
        "measurements",
        sa.Column("number", row_number, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("source", sa.String(200), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("status_reason", sa.String()),
        sa.Column("visibility", sa.String(20), nullable=False),
        sa.Column("team", sa.String(200)),
        sa.Column("shipped", sa.Boolean(), nullable=False),
        sa.Column("created_at", point_in_time, nullable=False),
        sa.Column("estimate_id", sa.String(40)),
        sa.Column("evidence", sa.String(40)),
        sa.Column("measured_on", sa.String(40)),
        sa.Column("model_name", sa.String(300)),
        sa.Column("model_family", sa.String(40)),
        sa.Column("model_parameters", sa.Double()),
        sa.Column("accelerator", sa.String(200), nullable=False),
        sa.Column("accelerator_count", sa.Double()),
        sa.Column("mode", sa.String(40)),
        sa.Column("precision", sa.String(40)),
        sa.Column("framework", sa.String(200)),
        sa.Column("unit", sa.String(60)),
        sa.Column("value", sa.Double()),
        sa.Column("fields", json_object, nullable=False),
        sa.CheckConstraint("status IN ('accepted', 'quarantined', 'withdrawn')", name="ck_measurements_status"),
        sa.CheckConstraint("visibility IN ('shared', 'team')", name="ck_measurements_visibility"),
        sa.ForeignKeyConstraint(
            ["estimate_id"], ["estimates.id"], name="fk_measurements_estimate_id_estimates", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["source"], ["sources.name"], name="fk_measurements_source_sources"),
        sa.PrimaryKeyConstraint("number", name="pk_measurements"),
        sa.UniqueConstraint("id", name="uq_measurements_id"),
    )
    for column in ("accelerator", "estimate_id", "model_family", "source", "status", "team"):
        op.create_index(f"ix_measurements_{column}", "measurements", [column])
    op.create_index("ix_measurements_model_name_accelerator", "measurements", ["model_name", "accelerator"])


def downgrade() -> None:
    """Drops the tables."""
    for table in ("measurements", "sources", "seeds", "estimates", "calibrations"):
        op.drop_table(table)
