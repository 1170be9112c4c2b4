"""The event types of the feed, one per kind of webhook that GitHub has."""

from typing import Final

_NAMES = """
branch_protection_rule check_run check_suite code_scanning_alert commit_comment create delete
dependabot_alert deploy_key deployment deployment_review deployment_status discussion
discussion_comment fork github_app_authorization gollum installation installation_repositories
issue_comment issues label marketplace_purchase member membership merge_group meta milestone
org_block organization package page_build ping project project_card project_column projects_v2_item
public pull_request pull_request_review pull_request_review_comment pull_request_review_thread push
release repository repository_dispatch repository_import repository_vulnerability_alert
security_advisory sponsorship star status team team_add watch workflow_dispatch workflow_job
workflow_run
"""

KINDS: Final = tuple(f"GITHUB_{name.upper()}" for name in _NAMES.split())
