{
  description = "engenho: a Kubernetes cluster in one executable";
  inputs.nixpkgs.url = "nixpkgs";
  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];
      each = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
      inputs = pkgs: with pkgs; [
        rocksdb snappy lz4 zstd bzip2 zlib grpc protobuf re2 abseil-cpp nghttp2 openssl yaml-cpp libnftnl libmnl libnl c-ares fmt jemalloc
      ];
      tools = pkgs: with pkgs; [ cmake ninja pkg-config (python3.withPackages (p: [ p.pyyaml ])) catch2 ];
    in {
      packages = each (pkgs: {
        default = pkgs.stdenv.mkDerivation {
          pname = "engenho";
          version = "0.1.0";
          src = ./..;
          nativeBuildInputs = tools pkgs;
          buildInputs = inputs pkgs;
          installPhase = "install -Dm755 engenho $out/bin/engenho";
        };
      });
      devShells = each (pkgs: {
        default = pkgs.mkShell {
          packages = tools pkgs ++ inputs pkgs ++ (with pkgs; [ ccache gdb containerd runc nftables iproute2 kubectl etcd git ruby ]);
        };
      });
    };
}
