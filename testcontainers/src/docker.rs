//! What containers of tests have in common: an image that is there or is pulled, ports on this machine alone, and an end that
//! comes with the end of the test's process.

use std::time::Duration;

use testcontainers::bollard::exec::{CreateExecOptions, StartExecResults};
use testcontainers::bollard::models::{HostConfig, PortBinding};
use testcontainers::core::IntoContainerPort;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage};

use crate::postgres::wait;

/// An engine that is there answers at once.
const ENGINE_MAX: Duration = Duration::from_secs(5);
/// Its input ends when the test's process ends, however that happens. Then all ends.
const KEEPER: &str = "cat > /dev/null; kill -TERM 1";

/// Makes sure that an engine has an image: answers its name, or why it cannot be had.
pub(crate) fn have_image(image: &str, tag: &str, say: &(impl Fn(&str) + Sync)) -> Result<String, String> {
    let name = format!("{image}:{tag}");
    let engine = wait(async {
        let engine = testcontainers::core::client::docker_client_instance().await.map_err(|error| error.to_string())?;
        let answer = tokio::time::timeout(ENGINE_MAX, engine.ping()).await;
        answer.map_err(|_| format!("nothing for {ENGINE_MAX:?}"))?.map_err(|error| error.to_string())?;
        Ok(engine)
    });
    let engine = engine.map_err(|error: String| format!("no Docker engine answers: {error}"))?;
    let asked = name.clone();
    if wait(async move { engine.inspect_image(&asked).await.is_ok() }) {
        return Ok(name);
    }
    say(&format!("pulling the image {name}"));
    let image = GenericImage::new(image.to_owned(), tag.to_owned());
    let pulled = wait(async move { image.pull_image().await.map(drop).map_err(|error| error.to_string()) });
    pulled.map_err(|error| format!("Docker has no image {name} and does not get it: {error}"))?;
    Ok(name)
}

/// Publishes ports on 127.0.0.1 alone, and has the engine remove the container when it ends.
pub(crate) fn publish(host: &mut HostConfig, ports: &[u16]) {
    host.auto_remove = Some(true);
    host.publish_all_ports = Some(false);
    let binding = || PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: None };
    let bindings = ports.iter().map(|port| (port.tcp().to_string(), Some(vec![binding()])));
    host.port_bindings = Some(bindings.collect());
}

/// Has the container end when this process does.
pub(crate) async fn keeper(container: &ContainerAsync<GenericImage>) -> Result<StartExecResults, String> {
    let keeper = async {
        let engine = testcontainers::core::client::docker_client_instance().await?;
        let command = CreateExecOptions {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            cmd: Some(vec!["sh", "-c", KEEPER]),
            ..CreateExecOptions::default()
        };
        let created = engine.create_exec(container.id(), command).await?;
        Ok(engine.start_exec(&created.id, None).await?)
    };
    keeper.await.map_err(|error: Box<dyn std::error::Error + Send + Sync>| error.to_string())
}
