// `engenho datastore`: the datastore alone, behind etcd's API.
#include <signal.h>

#include <filesystem>
#include <iostream>

#include "engenho/base/fs.h"
#include "engenho/base/log.h"
#include "engenho/datastore/etcd_server.h"
#include "engenho/datastore/rocksdb_store.h"
#include "engenho/engenho/commands.h"
#include "flags.h"

namespace engenho {

namespace {

struct DatastoreConfig {
  datastore::RocksdbOptions store;
  datastore::EtcdServer::Options etcd;
  std::string certificate_file, key_file, client_ca_file;
  std::string log_level = "info";
};

std::vector<Flag> flags_of(DatastoreConfig& config, bool& help) {
  return {
      {"data-dir", "DIR", "where the data lives; made when absent", set_text(config.store.dir)},
      {"listen-client", "URL",
       "unix:///path, http://127.0.0.1:PORT or https://ADDRESS:PORT; may be repeated (default unix://DIR/etcd.sock)",
       add_text(config.etcd.listen)},
      {"cert-file", "FILE", "the server's certificate, for https", set_text(config.certificate_file)},
      {"key-file", "FILE", "its key", set_text(config.key_file)},
      {"trusted-ca-file", "FILE", "the authority that has signed the clients' certificates", set_text(config.client_ca_file)},
      {"name", "NAME", "the member's name (default engenho)", set_text(config.etcd.member_name)},
      {"quota-backend-bytes", "BYTES", "size at which the alarm NOSPACE is raised; 0: none (default 8 GiB)",
       set_number(config.store.quota_bytes, 0)},
      {"auto-compaction-interval", "TIME", "how long history is kept at least; 0: for ever (default 5m)",
       set_duration(config.store.compaction_interval)},
      {"auto-compaction-revisions", "COUNT", "revisions kept at most; 0: no limit (default 1000000)",
       set_number(config.store.compaction_max_history, 0)},
      {"log-level", "LEVEL", "trace, debug, info, warn, error or off (default info)", set_text(config.log_level)},
      {"help", "", "this list", set_switch(help)},
  };
}

Status run(DatastoreConfig& config) {
  log::Level level = log::Level::kInfo;
  if (!log::parse_level(config.log_level, level)) return bad_request("--log-level: expected one of trace, debug, info, warn, error, off");
  log::set_level(level);
  if (config.store.dir.empty()) return bad_request("--data-dir is missing");
  if (config.etcd.listen.empty()) {
    std::error_code error;
    config.etcd.listen = {"unix://" + std::filesystem::absolute(config.store.dir, error).string() + "/etcd.sock"};
  }
  config.etcd.scratch_dir = config.store.dir;
  const std::pair<std::string*, std::string*> files[] = {{&config.certificate_file, &config.etcd.certificate_pem},
                                                         {&config.key_file, &config.etcd.key_pem},
                                                         {&config.client_ca_file, &config.etcd.client_ca_pem}};
  for (const auto& [file, into] : files) {
    if (file->empty()) continue;
    ENGENHO_ASSIGN_OR_RETURN(*into, read_file(*file));
  }
  // Before any thread starts, so that all of them leave the signals to this one.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  ENGENHO_ASSIGN_OR_RETURN(const auto store, datastore::open_rocksdb_store(config.store));
  ENGENHO_ASSIGN_OR_RETURN(const auto server, datastore::EtcdServer::start(*store, config.etcd));
  log::info("engenho", "the datastore is ready at revision {}", store->revision());
  int signal_number = 0;
  sigwait(&signals, &signal_number);
  log::info("engenho", "{}: stopping", signal_number == SIGINT ? "interrupted" : "terminated");
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);  // a second signal ends the process at once
  server->stop();
  return {};
}

}  // namespace

int datastore_command(const Arguments& arguments) {
  DatastoreConfig config;
  bool help = false;
  const std::vector<Flag> flags = flags_of(config, help);
  auto words = parse_flags(flags, arguments);
  if (words && !words->empty()) words = err(bad_request("unexpected argument \"" + words->front() + "\""));
  if (!words) {
    std::cerr << "engenho datastore: " << words.error().message() << "; see engenho datastore --help\n";
    return 2;
  }
  if (help) {
    std::cout << "engenho datastore: the datastore alone, behind etcd's v3 API\n\n" << flags_help(flags);
    return 0;
  }
  if (const Status status = run(config); !status.ok()) {
    std::cerr << "engenho datastore: " << status.message() << "\n";
    return status.code() == 400 ? 2 : 1;
  }
  return 0;
}

}  // namespace engenho
