//! Mail in German, by `Sie`.

use super::{Event, printable};
use crate::time::Timestamp;

pub(super) fn subject(event: &Event<'_>) -> &'static str {
    match event {
        Event::Reset { .. } | Event::OwnReset => {
            "Zwei-Faktor-Authentifizierung per TOTP zurückgesetzt"
        }
        Event::KeyShown => "Zwei-Faktor-Authentifizierung: Schlüssel angezeigt",
        Event::Enrolled => "Zwei-Faktor-Authentifizierung eingerichtet",
        Event::Disabled => "Zwei-Faktor-Authentifizierung abgeschaltet",
        Event::NewBackupCodes => "Zwei-Faktor-Authentifizierung: neue Backup-Codes",
        Event::BackupCodeUsed { .. } => "Zwei-Faktor-Authentifizierung: Backup-Code verwendet",
        Event::Locked { .. } => "Zwei-Faktor-Authentifizierung vorübergehend gesperrt",
        Event::GuessedOut { .. } => "Zwei-Faktor-Authentifizierung gesperrt",
        Event::NewPassword => "Ihr Passwort wurde geändert",
        Event::NewToken { .. } => "Ein Anmelde-Token wurde erstellt",
    }
}

pub(super) fn story(event: &Event<'_>, at: Timestamp) -> String {
    match event {
        Event::Reset { by } => format!(
            "Ihre Zwei-Faktor-Authentifizierung per TOTP wurde am {at} von\n\
             {} zurückgesetzt.\n\n\
             Sie wurden überall abgemeldet. Melden Sie sich wieder an, und richten Sie\n\
             Ihre Authenticator-App neu ein.",
            match by {
                Some(username) => printable(username),
                None => "einem Betreiber des Servers".to_owned(),
            }
        ),
        Event::OwnReset => format!(
            "Ihre Zwei-Faktor-Authentifizierung per TOTP wurde am {at} von\n\
             Ihnen selbst zurückgesetzt.\n\n\
             Sie wurden überall abgemeldet. Melden Sie sich wieder an, und richten Sie\n\
             Ihre Authenticator-App neu ein."
        ),
        Event::KeyShown => format!(
            "Am {at} wurde ein Schlüssel angezeigt, mit dem Sie die\n\
             Zwei-Faktor-Authentifizierung per TOTP einrichten können.\n\n\
             Er gilt erst, wenn ein Code eingegeben wird, der mit ihm erzeugt wurde."
        ),
        Event::Enrolled => format!(
            "Ihre Zwei-Faktor-Authentifizierung per TOTP wurde am {at} eingerichtet.\n\n\
             Ihre anderen Sitzungen wurden beendet."
        ),
        Event::Disabled => format!(
            "Ihre Zwei-Faktor-Authentifizierung per TOTP wurde am {at} abgeschaltet,\n\
             durch Eingabe eines Codes."
        ),
        Event::NewBackupCodes => {
            format!("Am {at} wurden neue Backup-Codes erzeugt. Die alten sind ungültig.")
        }
        Event::BackupCodeUsed { left } => {
            format!("Am {at} wurde ein Backup-Code verwendet. Noch übrig: {left}.")
        }
        Event::Locked { failures, until } => format!(
            "Für Ihr Konto wurden {failures} falsche Codes in Folge eingegeben, der letzte\n\
             am {at}.\n\n\
             Bis {until} wird auch ein richtiger Code abgelehnt."
        ),
        Event::GuessedOut { failures } => format!(
            "Für Ihr Konto wurden {failures} falsche Codes in Folge eingegeben, der letzte\n\
             am {at}.\n\n\
             Es wird kein Code mehr angenommen, bis die Administration Ihren zweiten\n\
             Faktor ersetzt oder ein Betreiber des Servers ihn entsperrt hat."
        ),
        Event::NewPassword => format!(
            "Ihr Passwort wurde am {at} von einem Betreiber des Servers geändert.\n\n\
             Ihre Sitzungen wurden beendet."
        ),
        Event::NewToken { name: "" } => {
            format!("Sie wurden am {at} von einem Betreiber des Servers angemeldet.")
        }
        Event::NewToken { name } => format!(
            "Das persönliche Zugriffstoken {} wurde am {at} von einem\n\
             Betreiber des Servers erstellt.",
            printable(name)
        ),
    }
}

pub(super) fn from(address: &str) -> String {
    format!("Von: {address}")
}

pub(super) const WARNING: &str = "\
Wenn das weder von Ihnen noch in Ihrem Auftrag geschehen ist, melden Sie es\n\
sofort der Administration Ihres Workspace.\n";

pub(super) const CODE_SUBJECT: &str = "Authentifizierungscode";

pub(super) fn code(user: &str, code: &str, expires: Timestamp) -> String {
    format!(
        "Der Code für {user} lautet {code}. Geben Sie seine sechs Ziffern ein.\n\
         \n\
         Er kann bis {expires} einmal verwendet werden. Wenn Sie ihn nicht\n\
         angefordert haben, kennt jemand anderes Ihr Passwort: Ändern Sie es.\n"
    )
}
