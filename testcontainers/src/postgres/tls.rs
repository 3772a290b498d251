//! Certificates for one server: an authority of its own, the server's certificate, and one for a
//! client. Nothing else trusts them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// Whom the client's certificate names.
const CLIENT: &str = "postgres";

/// The files, in PEM.
#[derive(Debug)]
pub(super) struct Certificates {
    pub(super) ca: PathBuf,
    pub(super) server: PathBuf,
    pub(super) server_key: PathBuf,
    pub(super) client: PathBuf,
    pub(super) client_key: PathBuf,
}

impl Certificates {
    /// Makes them in a folder that is there.
    pub(super) fn create(folder: &Path) -> Self {
        let path = |name: &str| folder.join(name);
        let files = Certificates {
            ca: path("ca.crt"),
            server: path("server.crt"),
            server_key: path("server.key"),
            client: path("client.crt"),
            client_key: path("client.key"),
        };
        files.fill().expect("a certificate can be made");
        files
    }

    fn fill(&self) -> Result<(), rcgen::Error> {
        let mut authority = parameters("Tidegate test authority", &[])?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        write(&self.ca, &authority.self_signed(&key)?.pem(), 0o644);
        let issuer = Issuer::new(authority, key);

        let mut server = parameters("Tidegate test server", &["localhost", "127.0.0.1"])?;
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        write(&self.server, &server.signed_by(&key, &issuer)?.pem(), 0o644);
        write(&self.server_key, &key.serialize_pem(), 0o600);

        let mut client = parameters(CLIENT, &[])?;
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        write(&self.client, &client.signed_by(&key, &issuer)?.pem(), 0o644);
        write(&self.client_key, &key.serialize_pem(), 0o600);
        Ok(())
    }
}

fn parameters(name: &str, hosts: &[&str]) -> Result<CertificateParams, rcgen::Error> {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut parameters = CertificateParams::new(hosts)?;
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.use_authority_key_identifier_extension = true;
    Ok(parameters)
}

/// Keys must not be open to others, or the server and libpq refuse them.
fn write(file: &Path, text: &str, mode: u32) {
    fs::write(file, text).expect("a certificate can be written");
    fs::set_permissions(file, Permissions::from_mode(mode)).expect("an own file can be closed");
}
