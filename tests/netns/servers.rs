use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Lab, Running, SERVER};

/// An nginx on the server; `PUT` stores files too.
#[derive(Debug)]
pub(crate) struct WebServer {
    root: PathBuf,
    _process: Running,
}

impl WebServer {
    /// The directory it serves.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}

impl Lab {
    /// Starts a web server on port 80 of the server.
    pub(crate) fn web_server(&self) -> WebServer {
        let home = self.storage().join("nginx");
        let root = home.join("www");
        fs::create_dir_all(&root).expect("the lab directory is writable");
        let configuration = home.join("nginx.conf");
        fs::write(&configuration, nginx_configuration(&home, &root)).expect("the lab directory is writable");
        let mut command = self.server.command("nginx");
        command.args(["-e", "stderr", "-p"]).arg(&home).arg("-c").arg(&configuration);
        let process = Running::start(command, &home.join("log"));
        self.server.wait_for_listener(80);
        WebServer { root, _process: process }
    }

    /// Starts an authoritative DNS server on the server: the zones `example` and `100.51.198.in-addr.arpa`.
    pub(crate) fn name_server(&self) -> Running {
        let home = self.directory().join("nsd");
        fs::create_dir_all(&home).expect("the lab directory is writable");
        let configuration = home.join("nsd.conf");
        fs::write(&configuration, nsd_configuration(&home)).expect("the lab directory is writable");
        let mut command = self.server.command("nsd");
        command.arg("-d").arg("-c").arg(&configuration);
        let process = Running::start(command, &home.join("log"));
        self.server.wait_for_listener(53);
        process
    }

    /// Starts an iperf3 server on the server that ends after one test.
    pub(crate) fn iperf_server(&self) -> Running {
        let mut command = self.server.command("iperf3");
        command.args(["--server", "--one-off", "--idle-timeout", "60"]);
        let process = Running::start(command, &self.directory().join("iperf3.log"));
        self.server.wait_for_listener(5201);
        process
    }
}

fn nginx_configuration(home: &Path, root: &Path) -> String {
    let (home, root) = (home.display(), root.display());
    format!(
        "daemon off;
        user root;
        worker_processes 1;
        pid {home}/pid;
        error_log stderr;
        events {{}}
        http {{
            access_log off;
            sendfile on;
            client_max_body_size 0;
            client_body_temp_path {home}/body;
            proxy_temp_path {home}/proxy;
            fastcgi_temp_path {home}/fastcgi;
            uwsgi_temp_path {home}/uwsgi;
            scgi_temp_path {home}/scgi;
            server {{
                listen 80;
                root {root};
                dav_methods PUT;
            }}
        }}
        "
    )
}

fn nsd_configuration(home: &Path) -> String {
    let zones = Path::new(env!("CARGO_MANIFEST_DIR")).join("netns-scripts/zones");
    let (home, zones) = (home.display(), zones.display());
    format!(
        "server:
            ip-address: {SERVER}
            do-ip6: no
            username: \"\"
            chroot: \"\"
            zonesdir: \"{zones}\"
            database: \"\"
            pidfile: \"{home}/pid\"
            xfrdfile: \"{home}/xfrd.state\"
            zonelistfile: \"{home}/zone.list\"
            cookie-secret-file: \"{home}/cookies\"
            xfrdir: \"{home}\"
        remote-control:
            control-enable: no
        zone:
            name: example
            zonefile: example.zone
        zone:
            name: 100.51.198.in-addr.arpa
            zonefile: 198.51.100.zone
        "
    )
}
