//! An nginx by one of the recipes, with the addresses of a test.

use chat_testing::until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Where this package brings nginx, which is not on everybody's path.
const NGINX: &str = "/usr/sbin/nginx";

/// An nginx that ends with this.
pub(crate) struct Nginx {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it, which a kill would leave.
        let _ = kill(self.pid(), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

impl Nginx {
    /// By a recipe that listens on `port` once what it says of the first of each pair is replaced by
    /// the second.
    pub(crate) async fn start(recipe: &str, places: &[(&str, &str)], port: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display();
        let of_folder: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|name| format!("{name}_temp_path {at}/{name};\n"))
            .collect();
        let text = format!(
            "daemon off; worker_processes 1; pid {at}/pid; error_log stderr;\n{}\
             events {{}}\n\
             http {{ access_log off;\n{of_folder}{recipe}}}\n",
            if nix::unistd::geteuid().is_root() {
                "user root;\n"
            } else {
                ""
            }
        );
        let config = folder.path().join("nginx.conf");
        std::fs::write(&config, replaced(text, places)).unwrap();
        let child = Command::new(NGINX)
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx, which `cargo xtask test` installs");
        let nginx = Self {
            child,
            port,
            folder,
        };
        let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        until("nginx listens", listens).await;
        nginx
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Replaces in its configuration, has it read that, and waits until what began before has ended.
    pub(crate) async fn reload(&self, places: &[(&str, &str)]) {
        let config = self.config();
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, replaced(text, places)).unwrap();
        let before = self.workers();
        assert!(!before.is_empty());
        kill(self.pid(), Signal::SIGHUP).unwrap();
        let is_new = || !self.workers().iter().any(|worker| before.contains(worker));
        until("nginx has ended what it had begun", is_new).await;
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("nginx.conf")
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    /// The processes that it has started (proc(5)).
    fn workers(&self) -> Vec<String> {
        let pid = self.pid();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children.split_whitespace().map(str::to_owned).collect()
    }
}

fn replaced(mut text: String, places: &[(&str, &str)]) -> String {
    for (theirs, ours) in places {
        assert!(text.contains(theirs), "{theirs}");
        text = text.replace(theirs, ours);
    }
    text
}
