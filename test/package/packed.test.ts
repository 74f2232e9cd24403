import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect } from 'chai'

const run = promisify(execFile)
const root = join(import.meta.dirname, '../..')

describe('the packed package', () => {
  let folder: string

  before(async function () {
    this.timeout(120_000)
    folder = await mkdtemp(join(tmpdir(), 'sse-packed-'))
    const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder], { cwd: root })
    // The build prints first. The result is the last JSON.
    const [{ filename }] = JSON.parse(stdout.slice(stdout.indexOf('[\n'))) as [{ filename: string }]
    const target = join(folder, 'node_modules/express-sse-kit')
    await mkdir(target, { recursive: true })
    await run('tar', ['xzf', join(folder, filename), '-C', target, '--strip-components', '1'])
    // The packages that npm would also install.
    const { dependencies, peerDependencies } = JSON.parse(await readFile(join(target, 'package.json'), 'utf8'))
    for (const name of Object.keys({ ...dependencies, ...peerDependencies })) {
      const link = join(folder, 'node_modules', name)
      await mkdir(join(link, '..'), { recursive: true })
      await symlink(join(root, 'node_modules', name), link)
    }
    await writeFile(join(folder, 'package.json'), '{ "type": "module" }')
  })
  after(() => rm(folder, { recursive: true, force: true }))

  const node = async (...args: string[]) => (await run(process.execPath, args, { cwd: folder })).stdout.trim()

  it('can be imported and required, all entries', async () => {
    const names = "['express-sse-kit', 'express-sse-kit/client', 'express-sse-kit/bus', 'express-sse-kit/react']"
    const required = await node(
      '--input-type=commonjs',
      '-e',
      `console.log(${names}.map((n) => Object.keys(require(n)).length).join())`,
    )
    const imported = await node(
      '--input-type=module',
      '-e',
      `console.log((await Promise.all(${names}.map((n) => import(n)))).map((m) => Object.keys(m).length).join())`,
    )
    expect(imported).to.match(/^([1-9]\d*,){3}[1-9]\d*$/)
    expect(required).to.equal(imported)
  })

  it('has types with which the code of the README compiles under strict options', async function () {
    this.timeout(60_000)
    await cp(join(root, 'test/package/consumer.ts'), join(folder, 'consumer.ts'))
    const compilerOptions = {
      strict: true,
      noEmit: true,
      target: 'es2022',
      module: 'nodenext',
      lib: ['es2022', 'dom'],
      types: ['node'],
      exactOptionalPropertyTypes: true,
      skipLibCheck: true,
    }
    await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['consumer.ts'] }))
    const { stdout } = await run(join(root, 'node_modules/.bin/tsc'), ['-p', folder]).catch((error) => error)
    expect(stdout).to.equal('')
  })

  it('contains a client for browsers without Node modules', async () => {
    const dist = join(folder, 'node_modules/express-sse-kit/dist')
    const seen = new Set<string>()
    const follow = async (file: string): Promise<void> => {
      if (seen.has(file)) return
      seen.add(file)
      for (const [, target = ''] of (await readFile(file, 'utf8')).matchAll(/^(?:import|export) .*from '(.+)';?$/gm)) {
        expect(target, file).to.not.match(/^node:|^express$|^ioredis$/)
        if (target.startsWith('.')) await follow(join(file, '..', target))
      }
    }
    await follow(join(dist, 'client/index.js'))
    await follow(join(dist, 'client/bus.js'))
    await follow(join(dist, 'react/index.js'))
    expect(seen.size).to.be.above(3)
  })
})
