import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { eventually } from './eventually.js'
import { freePort } from './free-port.js'

/**
 * A real nginx in front of a server, started for the test on a free loopback port, with its files in a temporary
 * folder.
 */
export class Nginx {
  readonly url: string
  readonly #port: number
  readonly #upstreams: string
  readonly #server: (directives: string) => string
  readonly #folder: string
  #process: ChildProcess | undefined
  #log = ''
  /** The number of the current configuration. A response of nginx shows which one it uses. */
  #generation = 0

  private constructor(port: number, upstreams: string, server: (directives: string) => string, folder: string) {
    this.url = `http://127.0.0.1:${port}`
    this.#port = port
    this.#upstreams = upstreams
    this.#server = server
    this.#folder = folder
  }

  /**
   * @param upstream the URL of the server
   * @param directives of nginx for the proxied location, in addition to `proxy_pass`
   */
  static start(upstream: string, directives = ''): Promise<Nginx> {
    const server = (more: string): string => `location / {\n      proxy_pass ${upstream};\n      ${more}\n    }`
    return Nginx.#start('', server, directives)
  }

  /**
   * @param file a file for conf.d that ends with one `server`, which listens on 80
   * @param hosts the addresses of the names of its upstreams
   */
  static deployed(file: string, hosts: Readonly<Record<string, string>>): Promise<Nginx> {
    const text = Object.entries(hosts).reduce((all, [name, address]) => all.replaceAll(name, address), file)
    const [, upstreams = '', server = ''] = /^([\s\S]*)^server \{\n\s*listen 80;([\s\S]*)\}\s*$/m.exec(text) ?? []
    return Nginx.#start(upstreams, () => server, '')
  }

  static async #start(upstreams: string, server: (directives: string) => string, directives: string): Promise<Nginx> {
    const nginx = new Nginx(await freePort(), upstreams, server, await mkdtemp(join(tmpdir(), 'sse-nginx-')))
    try {
      await nginx.#write(directives)
      await nginx.#spawn()
      await nginx.#answers()
    } catch (error) {
      await nginx.stop()
      throw error
    }
    return nginx
  }

  /** Replaces the directives. Existing connections keep the old ones until they end. */
  async reload(directives = ''): Promise<void> {
    await this.#write(directives)
    this.#process?.kill('SIGHUP')
    await this.#answers()
  }

  /** Ends nginx with its workers and connections, and removes its folder. */
  async stop(): Promise<void> {
    const child = this.#process
    this.#process = undefined
    if (child?.pid !== undefined && child.exitCode === null && child.signalCode === null) {
      const ended = once(child, 'exit')
      child.kill('SIGTERM')
      await ended
    }
    await rm(this.#folder, { recursive: true, force: true })
  }

  async #spawn(): Promise<void> {
    const child = spawn('nginx', ['-p', this.#folder, '-c', 'nginx.conf', '-e', 'stderr'], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    this.#process = child
    // Also if the test run is aborted.
    const kill = () => child.kill('SIGTERM')
    process.once('exit', kill)
    child.once('exit', () => process.off('exit', kill))
    child.stderr.on('data', (chunk: Buffer) => {
      this.#log = (this.#log + chunk.toString()).slice(-2000)
    })
    try {
      await once(child, 'spawn')
    } catch (cause) {
      throw new Error('The tests need nginx on the PATH (Debian: apt-get install nginx)', { cause })
    }
  }

  async #answers(): Promise<void> {
    const expected = String(this.#generation)
    const child = this.#process
    await eventually(async () => {
      if (!child || child.exitCode !== null) throw new Error(`nginx ended: ${this.#log}`)
      // Without keep-alive, because a worker of the previous configuration would answer on its connections.
      const answer = await fetch(`${this.url}/.generation`, { headers: { connection: 'close' } }).catch(() => undefined)
      return (await answer?.text()) === expected
    })
  }

  async #write(directives: string): Promise<void> {
    this.#generation++
    const user = userInfo()
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    await writeFile(
      join(this.#folder, 'nginx.conf'),
      `daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
# A worker that is another user's could not reach the temporary folder.
${user.uid === 0 ? `user ${user.username};` : ''}
events { worker_connections 256; }
http {
  access_log off;
  ${temporary.map((name) => `${name}_temp_path ${name};`).join('\n  ')}
  ${this.#upstreams}
  server {
    listen 127.0.0.1:${this.#port};
    location = /.generation { return 200 "${this.#generation}"; }
    ${this.#server(directives)}
  }
}
`,
    )
  }
}
