import { userInfo } from 'node:os'
import { eventually } from './eventually.js'
import { freePort } from './free-port.js'
import { ServerProcess } from './server-process.js'
import { substitute } from './substitute.js'

type Files = Readonly<Record<string, string>>

/** The ports on which nginx listens: for the test's requests, and for the number of its configuration. */
interface Ports {
  readonly server: number
  readonly control: number
}

/** A real nginx in front of a server, started for the test on a free loopback port. */
export class Nginx {
  readonly url: string
  readonly #ports: Ports
  /** What is in nginx's http block, for given directives. */
  readonly #http: (directives: string) => string
  readonly #process: ServerProcess
  /** The number of the current configuration. A response of nginx shows which one it uses. */
  #generation = 1

  private constructor(url: string, ports: Ports, http: (directives: string) => string, process: ServerProcess) {
    this.url = url
    this.#ports = ports
    this.#http = http
    this.#process = process
  }

  /**
   * @param upstream the URL of the server
   * @param directives of nginx for the proxied location, in addition to `proxy_pass`
   */
  static async start(upstream: string, directives = ''): Promise<Nginx> {
    const ports = { server: await freePort(), control: await freePort() }
    const http = (more: string): string =>
      `server { listen 127.0.0.1:${ports.server}; location / { proxy_pass ${upstream}; ${more} } }`
    return Nginx.#start('http', ports, http, directives)
  }

  /**
   * @param file a file for conf.d with a server that listens on 80, or on 443 with TLS
   * @param parts what to replace in the file, such as the addresses of its upstreams
   * @param files what else is in the folder of the configuration, by name
   */
  static async deployed(file: string, parts: Files, files: Files = {}): Promise<Nginx> {
    const ports = { server: await freePort(), control: await freePort() }
    const [listen = '', port = ''] = /listen (80|443)\b/.exec(file) ?? []
    const text = substitute(file, { [listen]: `listen 127.0.0.1:${ports.server}`, ...parts })
    return Nginx.#start(port === '443' ? 'https' : 'http', ports, () => text, '', files)
  }

  static async #start(
    scheme: string,
    ports: Ports,
    http: (directives: string) => string,
    directives: string,
    files: Files = {},
  ): Promise<Nginx> {
    const process = await ServerProcess.start('nginx', (folder) => ({
      ...{ command: 'nginx', debian: 'nginx', args: ['-p', folder, '-c', 'nginx.conf', '-e', 'stderr'] },
      files: { ...files, 'nginx.conf': mainFile(ports.control, 1, http(directives)) },
    }))
    const nginx = new Nginx(`${scheme}://127.0.0.1:${ports.server}`, ports, http, process)
    try {
      await nginx.#answers()
    } catch (error) {
      await nginx.stop()
      throw error
    }
    return nginx
  }

  /** Replaces the directives. Existing connections keep the old ones until they end. */
  async reload(directives = ''): Promise<void> {
    this.#generation++
    await this.#process.write('nginx.conf', mainFile(this.#ports.control, this.#generation, this.#http(directives)))
    this.#process.signal('SIGHUP')
    await this.#answers()
  }

  /** Ends nginx with its workers and connections, and removes its folder. */
  stop(): Promise<void> {
    return this.#process.stop()
  }

  async #answers(): Promise<void> {
    const url = `http://127.0.0.1:${this.#ports.control}`
    await eventually(async () => {
      this.#process.assertRunning()
      // Without keep-alive, because a worker of the previous configuration would answer on its connections.
      const answer = await fetch(url, { headers: { connection: 'close' } }).catch(() => undefined)
      return (await answer?.text()) === String(this.#generation)
    })
  }
}

function mainFile(controlPort: number, generation: number, http: string): string {
  const user = userInfo()
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  return `daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
# A worker that is another user's could not reach the temporary folder.
${user.uid === 0 ? `user ${user.username};` : ''}
events { worker_connections 256; }
http {
  access_log off;
  ${temporary.map((name) => `${name}_temp_path ${name};`).join('\n  ')}
  server { listen 127.0.0.1:${controlPort}; location / { return 200 "${generation}"; } }
  ${http}
}
`
}
