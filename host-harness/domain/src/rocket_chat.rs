//! The Rocket.Chat that a workspace stands beside, as its URL says it: it is asked to close the
//! sockets of whoever's logins have ended, which it alone can.

use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use url::Url;

/// Where a Rocket.Chat is, and as whom it is asked.
#[derive(Debug)]
pub struct RocketChat {
    /// Without login; its path ends with `/`.
    pub base: Url,
    /// The id of a service account that holds `logout-other-user`.
    pub user: String,
    /// A personal access token of it that bypasses the second factor.
    pub token: SecretString,
}

/// A text names no Rocket.Chat. It never quotes the text, which may hold a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a Rocket.Chat's URL such as https://USER_ID:TOKEN@HOST")]
pub struct InvalidRocketChat;

impl RocketChat {
    /// Reads `https://USER_ID:TOKEN@HOST:PORT/PATH`, or the same with `http` within a network that
    /// nobody else reads. Id and token are percent-encoded; port and path may be left out.
    ///
    /// # Errors
    ///
    /// When it is no such URL.
    pub fn parse(text: &str) -> Result<Self, InvalidRocketChat> {
        let mut base = Url::parse(text).map_err(|_| InvalidRocketChat)?;
        let decoded = |text: &str| {
            let decoded = percent_decode_str(text).decode_utf8();
            let decoded = decoded.ok().filter(|text| is_header(text));
            decoded
                .map(|text| text.into_owned())
                .ok_or(InvalidRocketChat)
        };
        let user = decoded(base.username())?;
        let token = decoded(base.password().unwrap_or_default())?.into();
        let is_web = matches!(base.scheme(), "http" | "https") && base.has_host();
        if !is_web || base.query().is_some() || base.fragment().is_some() {
            return Err(InvalidRocketChat);
        }
        let cleared = base.set_username("").and(base.set_password(None));
        cleared.map_err(|()| InvalidRocketChat)?;
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        Ok(Self { base, user, token })
    }
}

/// Whether it can be the value of a header, and is one.
fn is_header(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn a_url_says_where_and_as_whom() {
        for (url, base) in [
            ("https://bot:t%2Fk@chat.example", "https://chat.example/"),
            (
                "http://bot:t%2Fk@127.0.0.1:3000/chat",
                "http://127.0.0.1:3000/chat/",
            ),
        ] {
            let rocket_chat = RocketChat::parse(url).unwrap();
            assert_eq!(rocket_chat.base.as_str(), base);
            assert_eq!(rocket_chat.user, "bot");
            assert_eq!(rocket_chat.token.expose_secret(), "t/k");
            assert!(!format!("{rocket_chat:?}").contains("t/k"));
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for url in [
            "",
            "chat.example",
            "https://chat.example",
            "https://bot@chat.example",
            "https://:token@chat.example",
            "https://bot:to%0Aken@chat.example",
            "https://bot:token@chat.example/?x=1",
            "https://bot:token@chat.example/#x",
            "mongodb://bot:token@chat.example",
        ] {
            assert_eq!(
                RocketChat::parse(url).err(),
                Some(InvalidRocketChat),
                "{url}"
            );
        }
    }
}
