#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <cerrno>

#include "engenho/datastore/snapshot.h"
#include "etcd.grpc.pb.h"

namespace engenho::datastore {

namespace {

Result<std::shared_ptr<grpc::Channel>> connect(const SnapshotSource& source) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  const std::string& url = source.endpoint;
  if (url.starts_with("unix://")) {
    arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
    return grpc::CreateCustomChannel("unix:" + url.substr(7), grpc::InsecureChannelCredentials(), arguments);
  }
  if (url.starts_with("http://")) return grpc::CreateCustomChannel(url.substr(7), grpc::InsecureChannelCredentials(), arguments);
  if (url.starts_with("https://")) {
    grpc::SslCredentialsOptions tls{source.ca_pem, source.key_pem, source.certificate_pem};
    return grpc::CreateCustomChannel(url.substr(8), grpc::SslCredentials(tls), arguments);
  }
  return err(bad_request("the endpoint " + url + " is none of unix:///path, http://host:port and https://host:port"));
}

}  // namespace

Result<SnapshotInfo> fetch_snapshot(const SnapshotSource& source, const std::string& path) {
  ENGENHO_ASSIGN(const auto channel, connect(source));
  const std::string partial = path + ".part";
  const int fd = ::open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return err(errno_error(partial, errno));
  const auto stub = etcdserverpb::Maintenance::NewStub(channel);
  grpc::ClientContext context;
  const auto stream = stub->Snapshot(&context, {});
  etcdserverpb::SnapshotResponse response;
  Status failed;
  while (failed.ok() && stream->Read(&response)) {
    for (std::string_view left = response.blob(); !left.empty();) {
      const ssize_t put = ::write(fd, left.data(), left.size());
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) {
        failed = errno_error("write " + partial, errno);
        context.TryCancel();
        break;
      }
      left.remove_prefix(static_cast<size_t>(put));
    }
  }
  while (stream->Read(&response)) {
  }
  const grpc::Status status = stream->Finish();
  if (failed.ok() && !status.ok()) failed = unavailable(source.endpoint + ": " + status.error_message());
  if (failed.ok() && ::fsync(fd) != 0) failed = errno_error("fsync " + partial, errno);
  ::close(fd);
  // Only what proves whole gets the name.
  auto info = failed.ok() ? inspect_snapshot(partial) : Result<SnapshotInfo>(err(failed));
  if (info && ::rename(partial.c_str(), path.c_str()) != 0) info = err(errno_error("rename " + partial, errno));
  if (!info) ::unlink(partial.c_str());
  else info->path = path;
  return info;
}

}  // namespace engenho::datastore
