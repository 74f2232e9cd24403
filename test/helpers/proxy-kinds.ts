/** How each proxy is started from its configuration in `example/deploy/proxies`, on loopback ports. */
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ServerProgram } from './server-process.js'

const VITE = fileURLToPath(new URL('../../node_modules/vite', import.meta.url))

export interface ProxyPorts {
  /** Where the proxy listens. */
  readonly proxy: number
  /** Where the kit listens. */
  readonly kit: number
}

interface Kind {
  /** The name of its program, which must be on the PATH. */
  readonly command: string
  /** The Debian package of its program. */
  readonly debian: string
  /** The name of its configuration. */
  readonly file: string
  /** The setting that closes a stream without bytes after 60 s. */
  readonly idle: string
  /** Whether it compresses, and keeps connections to the kit. */
  readonly forProduction: boolean
  /** Whether it notices at once that a client has left. Others notice it when they write to the client. */
  readonly noticesLeaving: boolean
  /** Whether a stream works after an informational response (1xx). nginx supports them from 1.29. */
  readonly informational: boolean
  /** What to replace in the configuration. */
  readonly parts: (ports: ProxyPorts) => Readonly<Record<string, string>>
}

/** nginx has a class of its own. */
export interface NginxKind extends Kind {
  /** Whether it serves HTTP/2 over TLS, with `cert.pem` and `key.pem` in its folder. */
  readonly http2: boolean
}

export interface ProgramKind extends Kind {
  /** How to start the program, with its configuration in the folder. */
  readonly program: (folder: string, config: string, ports: ProxyPorts) => Omit<ServerProgram, 'debian'>
}

export type ProxyKind = NginxKind | ProgramKind

const kitAddress = ({ kit }: ProxyPorts) => ({ '127.0.0.1:3000': `127.0.0.1:${kit}` })

export const PROXIES: Readonly<Record<string, ProxyKind>> = {
  nginx: {
    command: 'nginx',
    debian: 'nginx',
    file: 'nginx.conf',
    forProduction: true,
    noticesLeaving: true,
    informational: false,
    idle: 'proxy_read_timeout 60s',
    parts: kitAddress,
    http2: false,
  },
  'nginx over HTTP/2': {
    command: 'nginx',
    debian: 'nginx',
    file: 'nginx-http2.conf',
    forProduction: true,
    noticesLeaving: true,
    informational: false,
    idle: 'proxy_read_timeout 60s',
    parts: (ports) => ({ ...kitAddress(ports), '/etc/nginx/tls/': '' }),
    http2: true,
  },
  HAProxy: {
    command: 'haproxy',
    debian: 'haproxy',
    file: 'haproxy.cfg',
    forProduction: true,
    noticesLeaving: false,
    informational: true,
    idle: 'timeout server 60s',
    parts: (ports) => ({ ...kitAddress(ports), 'bind :80': `bind 127.0.0.1:${ports.proxy}` }),
    program: (_folder, config) => ({
      command: 'haproxy',
      args: ['-db', '-f', 'haproxy.cfg'],
      files: { 'haproxy.cfg': config },
    }),
  },
  Caddy: {
    command: 'caddy',
    debian: 'caddy',
    file: 'Caddyfile',
    forProduction: true,
    noticesLeaving: true,
    informational: true,
    idle: 'read_timeout 60s',
    parts: (ports) => ({ ...kitAddress(ports), ':80 {': `:${ports.proxy} {\n\tbind 127.0.0.1` }),
    program: (folder, config) => ({
      command: 'caddy',
      args: ['run', '--config', 'Caddyfile', '--adapter', 'caddyfile'],
      // Its administration listens on a fixed port.
      files: { Caddyfile: `{\n\tadmin off\n}\n${config}` },
      environment: { HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder },
      // After SIGTERM it waits until all streams have ended.
      endSignal: 'SIGKILL',
    }),
  },
  Varnish: {
    command: 'varnishd',
    debian: 'varnish',
    file: 'varnish.vcl',
    forProduction: true,
    noticesLeaving: true,
    informational: true,
    idle: 'pipe_timeout=60',
    parts: ({ kit }) => ({ '.port = "3000"': `.port = "${kit}"` }),
    program: (folder, config, { proxy }) => ({
      command: 'varnishd',
      // Without a jail: a process of another user could not reach the temporary folder.
      args: [
        ...['-j', 'none', '-F', '-n', join(folder, 'work'), '-s', 'malloc,32m'],
        ...['-a', `127.0.0.1:${proxy}`, '-f', join(folder, 'default.vcl')],
        ...['-p', /pipe_timeout=\d+/.exec(config)?.[0] ?? ''],
      ],
      files: { 'default.vcl': config },
    }),
  },
  'Apache httpd': {
    command: 'apache2',
    debian: 'apache2-bin',
    file: 'apache.conf',
    forProduction: true,
    noticesLeaving: false,
    informational: true,
    idle: 'timeout=60',
    parts: (ports) => ({ ...kitAddress(ports), '<VirtualHost *:80>': `<VirtualHost 127.0.0.1:${ports.proxy}>` }),
    program: (folder, config, { proxy }) => ({
      command: 'apache2',
      args: ['-d', folder, '-f', 'apache2.conf', '-D', 'FOREGROUND'],
      files: { 'site.conf': config, 'apache2.conf': apacheMain(folder, proxy) },
    }),
  },
  "Vite's development server": {
    command: 'node',
    debian: 'nodejs',
    file: 'vite.config.ts',
    idle: 'proxyTimeout: 60_000',
    forProduction: false,
    noticesLeaving: true,
    informational: true,
    parts: kitAddress,
    program: (folder, config, { proxy }) => ({
      command: process.execPath,
      args: [join(VITE, 'bin/vite.js'), folder, '--host', '127.0.0.1', '--port', String(proxy), '--strictPort'],
      files: { 'vite.config.ts': config, 'package.json': '{ "type": "module" }', 'index.html': '<!doctype html>' },
      links: { 'node_modules/vite': VITE },
      endSignal: 'SIGKILL',
    }),
  },
}

/** What Debian has in apache2.conf and in mods-enabled. */
function apacheMain(folder: string, port: number): string {
  const modules = ['mpm_event', 'authz_core', 'filter', 'deflate', 'headers', 'proxy', 'proxy_http']
  return `DefaultRuntimeDir "${folder}"
PidFile apache2.pid
ErrorLog error.log
ServerName 127.0.0.1
Listen 127.0.0.1:${port}
${modules.map((name) => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so`).join('\n')}
${userInfo().uid === 0 ? 'User www-data\nGroup www-data' : ''}
Include site.conf
`
}
