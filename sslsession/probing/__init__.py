"""What a server resumes, found out by connecting to it: the part of ``sslsession probe`` that is not printing."""

from sslsession.probing.failures import NotSpoken, ProbeError
from sslsession.probing.files import Saved, load_session, save_session
from sslsession.probing.probe import Probe
from sslsession.probing.reports import KindReport, Report, ResumeReport, VersionReport
from sslsession.probing.target import Target, Trust, parse_target

__all__ = [
    "KindReport",
    "NotSpoken",
    "Probe",
    "ProbeError",
    "Report",
    "ResumeReport",
    "Saved",
    "Target",
    "Trust",
    "VersionReport",
    "load_session",
    "parse_target",
    "save_session",
]
