"""Checks of what every caching method must do, for the tests of any package."""

from skipstone.testing.case import Case as Case
from skipstone.testing.check import Check as Check
from skipstone.testing.check import check_method as check_method
from skipstone.testing.check import method_checks as method_checks
from skipstone.testing.short_run import ShortRun as ShortRun
