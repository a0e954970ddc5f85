{
  "targets": [
    {
      "target_name": "vpc_conn",
      "sources": [
        "<!@(node -p \"require('fs').readFileSync('native/sources.list','utf8').trim().split('\\n').map(s=>'native/'+s).join(' ')\")",
        "native/binding/addon.cc",
        "native/binding/clock_binding.cc",
        "native/binding/convert.cc",
        "native/binding/data_plane_binding.cc",
        "native/binding/netlink_binding.cc",
        "native/binding/nftables_binding.cc",
        "native/binding/offload_binding.cc",
        "native/binding/pipeline_binding.cc"
      ],
      "include_dirs": ["native"],
      "dependencies": ["<!(node -p \"require('node-addon-api').targets\"):node_addon_api_except"],
      "defines": [
        "NAPI_VERSION=9",
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS",
        "VPC_CONN_VERSION=\"<!(node -p \"require('./package.json').version\")\""
      ],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++20"],
      "cflags_cc": ["-std=c++20", "-O3", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden"],
      "libraries": ["-ldl", "-lpthread"]
    }
  ]
}
