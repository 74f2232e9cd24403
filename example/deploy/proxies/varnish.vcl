# Varnish in front of the kit. Copy it to /etc/varnish/default.vcl, and start Varnish with
#
#   varnishd -a :80 -f /etc/varnish/default.vcl -p pipe_timeout=60
#
# `pipe_timeout` (60 s by default) closes a stream without bytes. Heartbeats come every 25 s.
vcl 4.1;

backend kit {
  .host = "127.0.0.1";
  .port = "3000";
  # The same for streams over HTTP/2, for which Varnish uses `pass`.
  .between_bytes_timeout = 60s;
}

sub vcl_recv {
  # `pipe` connects the client with the kit. With `pass` streams work too, but a client that leaves is noticed only
  # after three heartbeats, and after an informational response (103 Early Hints) Varnish answers 503.
  if (req.http.Accept ~ "text/event-stream") {
    return (pipe);
  }
}

sub vcl_backend_response {
  # Varnish compresses only responses that have do_gzip.
  if (beresp.http.Content-Type ~ "^(application/json|application/javascript|text/css)") {
    set beresp.do_gzip = true;
  }
}
