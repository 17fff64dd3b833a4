"""The table of requests, and that of the trainer lock's lease."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables. MySQL commits each statement, so that each may have been run before."""
    op.create_table(
        "retrain_request",
        sa.Column("id", mysql.CHAR(36, charset="ascii", collation="ascii_bin"), primary_key=True),
        sa.Column("state", mysql.ENUM("new", "cur", "done", "bad"), nullable=False),
        sa.Column("record", mysql.MEDIUMTEXT(), nullable=False),
        sa.Column("finished_at", mysql.DATETIME(fsp=6)),
        sa.Column("trouble", mysql.TEXT()),
        # A constraint, unlike an index, is part of the same statement.
        sa.UniqueConstraint("state", "id", name="retrain_request_state"),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        if_not_exists=True,
    )
    op.create_table(
        "retrain_lease",
        sa.Column("name", mysql.VARCHAR(32), primary_key=True),
        sa.Column("owner", mysql.VARCHAR(200), nullable=False),
        sa.Column("expires_at", mysql.DATETIME(fsp=6), nullable=False),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        if_not_exists=True,
    )
    op.execute("INSERT IGNORE INTO retrain_lease (name, owner, expires_at) VALUES ('trainer', '', UTC_TIMESTAMP(6))")


def downgrade() -> None:
    """Drop both tables, with all requests."""
    op.drop_table("retrain_lease")
    op.drop_table("retrain_request")
