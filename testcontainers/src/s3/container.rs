//! The same server in a Docker container of moto's own image, with the script of the process copied into it.

use testcontainers::bollard::exec::StartExecResults;
use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, CopyTargetOptions, GenericImage, ImageExt};

use crate::docker;
use crate::postgres::backend::say;
use crate::postgres::wait;

const IMAGE: &str = "motoserver/moto";
const TAG: &str = "5.2.5";
const SCRIPT: &str = include_str!("../../s3/server.py");
const PLACE: &str = "/tidegate/server.py";
const PORTS: [u16; 2] = [9000, 9001];

/// A shell is first, because the server would not end by a signal there; its input is one that never ends.
fn command(bucket: &str, seed: u64) -> String {
    let [port, faulty] = PORTS;
    format!(
        "trap 'exit 0' TERM INT; tail -f /dev/null | python3 {PLACE} {bucket} {seed} 0.0.0.0 {port} {faulty} & wait $!"
    )
}

/// A running server. The container is gone when it is dropped, or when the test's process ends.
pub(super) struct ServerContainer {
    container: Option<ContainerAsync<GenericImage>>,
    /// The input of the keeper in the container.
    _keeper: StartExecResults,
}

impl ServerContainer {
    /// Starts it; answers where it listens, and where with faults.
    pub(super) fn start(bucket: &str, seed: u64) -> (Self, u16, u16) {
        docker::have_image(IMAGE, TAG, &say)
            .unwrap_or_else(|error| panic!("the S3 server cannot run in a container: {error}"));
        let [port, faulty] = PORTS;
        let image = GenericImage::new(IMAGE.to_owned(), TAG.to_owned())
            .with_wait_for(WaitFor::message_on_stdout(format!("{port} {faulty}")))
            .with_entrypoint("sh")
            .with_exposed_port(port.tcp())
            .with_exposed_port(faulty.tcp());
        let request = image
            .with_cmd(["-c".to_owned(), command(bucket, seed)])
            .with_host_config_modifier(|host| docker::publish(host, &PORTS))
            .with_copy_to(CopyTargetOptions::new(PLACE).with_mode(0o644), SCRIPT.as_bytes().to_vec());
        let started = wait(async move {
            let container = request.start().await.map_err(|error| error.to_string())?;
            let port = container.get_host_port_ipv4(port.tcp()).await.map_err(|error| error.to_string())?;
            let faulty = container.get_host_port_ipv4(faulty.tcp()).await.map_err(|error| error.to_string())?;
            let keeper = docker::keeper(&container).await?;
            Ok::<_, String>((ServerContainer { container: Some(container), _keeper: keeper }, port, faulty))
        });
        started.unwrap_or_else(|error| panic!("a container of {IMAGE}:{TAG} does not start: {error}"))
    }
}

impl Drop for ServerContainer {
    fn drop(&mut self) {
        let Some(container) = self.container.take() else { return };
        // Within the runtime, which it takes to drop a container. What fails has been removed already, or the engine is gone.
        wait(async move { drop(container.rm().await) });
    }
}
