//! Makes what registries hold of the plugin and of its contract, and lists a release.
//!
//! `plugin-package FOLDER` is called by `cargo xtask package`. FOLDER has the component, its list of
//! what it is made of, and its signature if there is one. Two layouts for registries are added, `oci/`,
//! and the contract as a WIT package.

use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use plugin_component::layout::{Artifact, Layout};
use plugin_component::metadata::Metadata;
use plugin_component::{Contract, contract_package, describe, digest};
use serde_json::{Value, json};
use time::OffsetDateTime;

const COMPONENT: &str = "reset_totp.wasm";
const SIGNATURE: &str = "reset_totp.wasm.minisig";
const SBOM: &str = "reset_totp.cdx.json";

/// Where the contract is, from the workspace's folder.
const CONTRACT: &str = "wit";

/// The layer that is a component or a WIT package, and what describes it:
/// <https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/>.
const WASM: &str = "application/wasm";
const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";

/// What a manifest is about: a component's list of what it is made of, and its signature.
const SBOM_KIND: &str = "application/vnd.cyclonedx+json";
const SIGNATURE_KIND: &str = "application/vnd.minisign.signature";

fn main() -> Result<()> {
    let mut paths = env::args_os().skip(1).map(PathBuf::from);
    let (Some(folder), None) = (paths.next(), paths.next()) else {
        bail!("usage: plugin-package FOLDER");
    };
    let metadata = Metadata::read()?;
    let wit = contract_package(Path::new(CONTRACT), &metadata)?;
    let created = created()?;
    let about = |metadata| About {
        created: &created,
        metadata,
    };
    fs::write(folder.join(&wit.file), &wit.bytes)?;
    let oci = folder.join("oci");
    let component = about(&metadata).component(&folder, &oci.join("reset-totp-plugin"))?;
    let contract = about(&wit.metadata).contract(&wit, &oci.join("reset-totp"))?;
    let mut output = io::stdout().lock();
    for file in files(&folder)? {
        let bytes = fs::read(&file)?;
        let name = file.file_name().unwrap_or_default().display();
        writeln!(output, "{}  {:>9}  {name}", digest(&bytes), bytes.len())?;
    }
    writeln!(
        output,
        "{component}  {:>9}  oci/reset-totp-plugin",
        "manifest"
    )?;
    writeln!(output, "{contract}  {:>9}  oci/reset-totp", "manifest")?;
    Ok(())
}

/// When what it is made of was last changed: so the same sources make the same bytes.
fn created() -> Result<String> {
    let seconds = env::var("SOURCE_DATE_EPOCH").context("SOURCE_DATE_EPOCH is not set")?;
    let moment = OffsetDateTime::from_unix_timestamp(seconds.parse()?)?;
    let (date, time) = (moment.date(), moment.time());
    Ok(format!(
        "{date}T{:02}:{:02}:{:02}Z",
        time.hour(),
        time.minute(),
        time.second()
    ))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?;
    let paths: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut files: Vec<_> = paths?.into_iter().filter(|path| path.is_file()).collect();
    files.sort();
    Ok(files)
}

/// What every manifest says.
struct About<'a> {
    created: &'a str,
    metadata: &'a Metadata,
}

impl About<'_> {
    /// The component, and what is about it; gives its manifest's digest.
    fn component(&self, folder: &Path, layout: &Path) -> Result<String> {
        let bytes = fs::read(folder.join(COMPONENT))?;
        let mut layout = Layout::create(layout)?;
        let described = describe(&bytes)?;
        let config = self.config(
            &bytes,
            json!({
                "exports": described.exports,
                "imports": described.imports,
            }),
        );
        let component = self.add(&layout, &config, &bytes, COMPONENT)?;
        layout.tag(&component, &self.metadata.version);
        let mut referrers = Vec::new();
        for (file, kind) in [(SBOM, SBOM_KIND), (SIGNATURE, SIGNATURE_KIND)] {
            let path = folder.join(file);
            if path.exists() {
                referrers.push(layout.add(&Artifact {
                    kind: Some(kind),
                    config: None,
                    layer: (kind, &fs::read(path)?, file),
                    annotations: json!({"org.opencontainers.image.created": self.created}),
                    subject: Some(&component),
                })?);
            }
        }
        layout.list_referrers(&component, &referrers)?;
        layout.finish()?;
        Ok(digest_in(&component))
    }

    fn contract(&self, wit: &Contract, layout: &Path) -> Result<String> {
        let mut layout = Layout::create(layout)?;
        let config = self.config(
            &wit.bytes,
            json!({
                "exports": wit.interfaces,
                "imports": [],
            }),
        );
        let contract = self.add(&layout, &config, &wit.bytes, &wit.file)?;
        layout.tag(&contract, &self.metadata.version);
        layout.finish()?;
        Ok(digest_in(&contract))
    }

    fn config(&self, bytes: &[u8], component: Value) -> String {
        json!({
            "created": self.created,
            "author": self.metadata.authors,
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": [format!("sha256:{}", digest(bytes))],
            "component": component,
        })
        .to_string()
    }

    fn add(&self, layout: &Layout, config: &str, bytes: &[u8], file: &str) -> Result<Value> {
        let mut annotations = json!({"org.opencontainers.image.created": self.created});
        if let Some(annotations) = annotations.as_object_mut() {
            for (name, text) in self.metadata.fields() {
                annotations.insert(format!("org.opencontainers.image.{name}"), text.into());
            }
        }
        layout.add(&Artifact {
            kind: None,
            config: Some((WASM_CONFIG, config.as_bytes())),
            layer: (WASM, bytes, file),
            annotations,
            subject: None,
        })
    }
}

fn digest_in(descriptor: &Value) -> String {
    let digest = descriptor.get("digest").and_then(Value::as_str);
    digest.unwrap_or_default().replace("sha256:", "")
}
