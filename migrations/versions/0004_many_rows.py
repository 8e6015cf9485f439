"""Indexes of a million measurements: by what lists are filtered by, each in order of arrival."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

BEFORE = ("source", "accelerator", "model_family", "status")
NOW = (*BEFORE, "model_name")
FORECAST = "forecast_error_log IS NOT NULL"
FEW = {"shipped": ("source", "shipped = 1", "shipped"), "forecast": ("team_id", FORECAST, FORECAST)}
"""Indexes of few rows: by what, and of which ones on SQLite and on PostgreSQL."""


def upgrade() -> None:
    """Replaces indexes of one column by those that have the order of arrival too."""
    for column in BEFORE:
        op.drop_index(f"ix_measurements_{column}", "measurements")
    op.drop_index("ix_measurements_model_name_accelerator", "measurements")
    for column in NOW:
        op.create_index(f"ix_measurements_{column}_sequence", "measurements", [column, "sequence"])
    op.create_index("ix_measurements_team_id_site_sequence", "measurements", ["team_id", "site", "sequence", "status"])
    op.drop_index("ix_measurements_agreement_key", "measurements")
    op.create_index("ix_measurements_agreement_key_deviation_log", "measurements", ["agreement_key", "deviation_log"])
    for name, (column, sqlite, postgresql) in FEW.items():
        op.create_index(
            f"ix_measurements_{name}",
            "measurements",
            [column, "sequence"],
            sqlite_where=sa.text(sqlite),
            postgresql_where=sa.text(postgresql),
        )


def downgrade() -> None:
    """Puts the former ones back."""
    for name in FEW:
        op.drop_index(f"ix_measurements_{name}", "measurements")
    op.drop_index("ix_measurements_agreement_key_deviation_log", "measurements")
    op.create_index("ix_measurements_agreement_key", "measurements", ["agreement_key"])
    op.drop_index("ix_measurements_team_id_site_sequence", "measurements")
    for column in NOW:
        op.drop_index(f"ix_measurements_{column}_sequence", "measurements")
    for column in BEFORE:
        op.create_index(f"ix_measurements_{column}", "measurements", [column])
    op.create_index("ix_measurements_model_name_accelerator", "measurements", ["model_name", "accelerator"])
