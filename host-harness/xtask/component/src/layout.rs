//! A folder with what a registry of the Open Container Initiative is to hold of one repository: an OCI
//! image layout, which every client pushes.
//! <https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md>

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::digest;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The configuration of what has none.
const EMPTY: (&str, &[u8]) = ("application/vnd.oci.empty.v1+json", b"{}");

/// A layout that is being written.
pub struct Layout {
    folder: PathBuf,
    /// Descriptors of what has a tag.
    tagged: Vec<Value>,
}

/// What a manifest is made of.
pub struct Artifact<'a> {
    /// What kind it is, where its configuration does not say.
    pub kind: Option<&'a str>,
    /// Media type and bytes; by default empty.
    pub config: Option<(&'a str, &'a [u8])>,
    /// Media type, bytes and the name of the file.
    pub layer: (&'a str, &'a [u8], &'a str),
    /// What it says of itself, by the names of `org.opencontainers.image`.
    pub annotations: Value,
    /// The descriptor of what it is about.
    pub subject: Option<&'a Value>,
}

impl Layout {
    /// An empty one, in the place of what was there.
    ///
    /// # Errors
    ///
    /// The folder cannot be written.
    pub fn create(folder: &Path) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).with_context(|| format!("cannot make {}", blobs.display()))?;
        fs::write(
            folder.join("oci-layout"),
            json!({"imageLayoutVersion": "1.0.0"}).to_string(),
        )?;
        Ok(Self {
            folder: folder.to_owned(),
            tagged: Vec::new(),
        })
    }

    /// Adds a manifest and what it names; gives its descriptor.
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub fn add(&self, artifact: &Artifact) -> Result<Value> {
        let (config_type, config) = artifact.config.unwrap_or(EMPTY);
        let (layer_type, layer, title) = artifact.layer;
        let mut layer = self.blob(layer_type, layer)?;
        put(
            &mut layer,
            "annotations",
            json!({"org.opencontainers.image.title": title}),
        );
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.blob(config_type, config)?,
            "layers": [layer],
            "annotations": artifact.annotations,
        });
        if let Some(subject) = artifact.subject {
            put(&mut manifest, "subject", subject.clone());
        }
        if let Some(kind) = artifact.kind {
            put(&mut manifest, "artifactType", kind.into());
        }
        let mut descriptor = self.blob(MANIFEST, manifest.to_string().as_bytes())?;
        if let Some(kind) = artifact.kind {
            put(&mut descriptor, "artifactType", kind.into());
        }
        Ok(descriptor)
    }

    /// Gives a manifest a tag.
    pub fn tag(&mut self, descriptor: &Value, tag: &str) {
        let mut descriptor = descriptor.clone();
        put(
            &mut descriptor,
            "annotations",
            json!({"org.opencontainers.image.ref.name": tag}),
        );
        self.tagged.push(descriptor);
    }

    /// Lists what is about `subject` under the tag by which clients find that in registries that do
    /// not list it themselves (OCI distribution 1.1, "Referrers Tag Schema").
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub fn list_referrers(&mut self, subject: &Value, referrers: &[Value]) -> Result<()> {
        let list = self.blob(INDEX, index(referrers).to_string().as_bytes())?;
        let subject = subject.get("digest").and_then(Value::as_str);
        let tag = subject.unwrap_or_default().replace(':', "-");
        self.tag(&list, &tag);
        Ok(())
    }

    /// Writes the list of what has a tag.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn finish(self) -> Result<()> {
        let list = index(&self.tagged).to_string();
        Ok(fs::write(self.folder.join("index.json"), list)?)
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> Result<Value> {
        let digest = digest(bytes);
        fs::write(self.folder.join("blobs/sha256").join(&digest), bytes)?;
        Ok(json!({
            "mediaType": media_type,
            "digest": format!("sha256:{digest}"),
            "size": bytes.len(),
        }))
    }
}

fn index(manifests: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
}

fn put(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}
