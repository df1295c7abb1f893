"""The directory that `auth.ldap` names."""

from auth.directory import Directory, LdapSource
from registry.outside_settings import LdapSettings


def directory_of(settings: LdapSettings) -> Directory:
    """Return what the settings say of it."""
    secret = settings.bind_password
    return Directory(
        urls=settings.urls,
        start_tls=settings.start_tls,
        ca=settings.ca,
        bind_dn=settings.bind_dn or "",
        bind_password="" if secret is None else secret.get_secret_value(),
        user_dn=settings.user_dn or "",
        user_base=settings.user_base or "",
        user_filter=settings.user_filter,
        name_attribute=settings.name_attribute,
        subject_attribute=settings.subject_attribute,
        group_base=settings.group_base or "",
        group_filter=settings.group_filter,
        group_name_attribute=settings.group_name_attribute,
        member_of=settings.member_of or "",
        timeout_s=settings.timeout,
    )


def build_source(settings: LdapSettings) -> LdapSource:
    """Return who asks it for passwords."""
    return LdapSource(directory_of(settings))
