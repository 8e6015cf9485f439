"""Teams, keys, first answers, the audit; who submitted a measurement, and how the forecast fared with it."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

json_object = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
row_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
point_in_time = sa.DateTime(timezone=True)
BEFORE = "status IN ('accepted', 'quarantined', 'withdrawn')"
ADDED = (
    "agreement_key",
    "deviation_log",
    "forecast_covered",
    "forecast_error_log",
    "duplicate_key",
    "site",
    "key_id",
    "team_id",
)
NOW = "status IN ('accepted', 'quarantined', 'rejected', 'withdrawn')"


def upgrade() -> None:
    """Creates the tables of teams and widens that of measurements."""
    op.create_table(
        "teams",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("created_at", point_in_time, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_teams"),
        sa.UniqueConstraint("name", name="uq_teams_name"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("team_id", sa.String(40), nullable=False),
        sa.Column("prefix", sa.String(40), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", sa.String(200), nullable=False),
        sa.Column("created_at", point_in_time, nullable=False),
        sa.Column("last_used_at", point_in_time),
        sa.Column("revoked_at", point_in_time),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name="fk_api_keys_team_id_teams"),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("prefix", name="uq_api_keys_prefix"),
    )
    op.create_index("ix_api_keys_team_id", "api_keys", ["team_id"])
    op.create_table(
        "first_answers",
        sa.Column("team_id", sa.String(40), nullable=False),
        sa.Column("idempotency_key", sa.String(200), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("created_at", point_in_time, nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("location", sa.String(200)),
        sa.Column("answer", json_object, nullable=False),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name="fk_first_answers_team_id_teams"),
        sa.PrimaryKeyConstraint("team_id", "idempotency_key", name="pk_first_answers"),
    )
    op.create_index("ix_first_answers_created_at", "first_answers", ["created_at"])
    op.create_table(
        "audit",
        sa.Column("number", row_number, autoincrement=True, nullable=False),
        sa.Column("at", point_in_time, nullable=False),
        sa.Column("team_id", sa.String(40)),
        sa.Column("key_id", sa.String(40)),
        sa.Column("action", sa.String(60), nullable=False),
        sa.Column("subject", sa.String(100), nullable=False),
        sa.Column("detail", json_object),
        sa.PrimaryKeyConstraint("number", name="pk_audit"),
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_index("ix_audit_team_id", "audit", ["team_id"])
    op.create_index("ix_audit_subject_number", "audit", ["subject", "number"])

    op.drop_index("ix_measurements_team", "measurements")
    with op.batch_alter_table("measurements") as table:
        table.drop_constraint("ck_measurements_status", type_="check")
        table.create_check_constraint("ck_measurements_status", NOW)
        table.drop_constraint("fk_measurements_source_sources", type_="foreignkey")
        table.drop_constraint("fk_measurements_estimate_id_estimates", type_="foreignkey")
        table.alter_column("source", existing_type=sa.String(200), nullable=True)
        table.alter_column("number", new_column_name="sequence", existing_type=row_number)
        table.alter_column("created_at", new_column_name="submitted_at", existing_type=point_in_time)
        # Nobody could submit before this release, so no row names a team yet.
        table.drop_column("team")
        table.add_column(sa.Column("team_id", sa.String(40)))
        table.add_column(sa.Column("key_id", sa.String(40)))
        table.add_column(sa.Column("site", sa.String(200)))
        table.add_column(sa.Column("duplicate_key", sa.String(64)))
        table.add_column(sa.Column("forecast_error_log", sa.Double()))
        table.add_column(sa.Column("forecast_covered", sa.Boolean()))
        table.add_column(sa.Column("deviation_log", sa.Double()))
        table.add_column(sa.Column("agreement_key", sa.String(64)))
        table.create_foreign_key("fk_measurements_team_id_teams", "teams", ["team_id"], ["id"])
        table.create_unique_constraint("uq_measurements_team_id_duplicate_key", ["team_id", "duplicate_key"])
    op.create_index("ix_measurements_agreement_key", "measurements", ["agreement_key"])
    op.create_index("ix_measurements_team_id_sequence", "measurements", ["team_id", "sequence"])


def downgrade() -> None:
    """Takes all of it back; submitted measurements, which 0001 has no room for, are lost."""
    op.execute("DELETE FROM measurements WHERE team_id IS NOT NULL")
    op.drop_index("ix_measurements_team_id_sequence", "measurements")
    op.drop_index("ix_measurements_agreement_key", "measurements")
    with op.batch_alter_table("measurements") as table:
        table.drop_constraint("uq_measurements_team_id_duplicate_key", type_="unique")
        table.drop_constraint("fk_measurements_team_id_teams", type_="foreignkey")
        for column in ADDED:
            table.drop_column(column)
        table.add_column(sa.Column("team", sa.String(200)))
        table.alter_column("submitted_at", new_column_name="created_at", existing_type=point_in_time)
        table.alter_column("sequence", new_column_name="number", existing_type=row_number)
        table.alter_column("source", existing_type=sa.String(200), nullable=False)
        table.create_foreign_key("fk_measurements_source_sources", "sources", ["source"], ["name"])
        table.create_foreign_key(
            "fk_measurements_estimate_id_estimates", "estimates", ["estimate_id"], ["id"], ondelete="SET NULL"
        )
        table.drop_constraint("ck_measurements_status", type_="check")
        table.create_check_constraint("ck_measurements_status", BEFORE)
    op.create_index("ix_measurements_team", "measurements", ["team"])
    for table_name in ("audit", "first_answers", "api_keys", "teams"):
        op.drop_table(table_name)
