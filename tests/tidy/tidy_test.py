"""Each rule must find a small bad sample and leave its good twin alone."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

import cpp_text
import rules_cpp
import rules_layers
import rules_text
import rules_tree
import tidy


def findings(path, text):
    """What the rules say of one file, as `line: what`."""
    found, _ = tidy.check_file(path, text, {})
    return [f'{line}: {what}' for line, what in found]


def header(path, body):
    guard = rules_cpp.guard_of(path)
    return f'#ifndef {guard}\n#define {guard}\n{body}#endif  // {guard}\n'


class RuleTest(unittest.TestCase):

    def assert_found(self, path, text, expected):
        found = findings(path, text)
        self.assertEqual(1, len([f for f in found if expected in f]),
                         f'{expected!r} not once in {found}')

    def assert_clean(self, path, text):
        self.assertEqual([], findings(path, text))


class LayersTest(RuleTest):

    def test_forbidden_includes(self):
        for path, name in [
                ('base/clock.cc', 'model/model.h'),
                ('model/model.cc', 'worker/executor/executor.h'),
                ('worker/executor/step.cc', 'server/scheduler/engine.h'),
                ('worker/executor/step.cc', 'worker/service/main.h'),
                ('worker/cache/books.h', 'worker/executor/executor.h'),
                ('worker/step/step.h', 'worker/cache/books.h'),
                ('worker/step_wire/wire.h', 'worker/executor/executor.h'),
                ('server/scheduler/engine.cc', 'worker/step_wire/wire.h'),
                ('worker/attention/policy.h', 'worker/cache/books.h'),
                ('worker/service/edge.cc', 'client/cpp/client.h'),
                ('server/placement/planner.cc', 'server/scheduler/engine.h'),
                ('server/scheduler/engine.cc', 'server/dispatch/d.h'),
                ('server/frontends/admin.cc', 'worker/executor/executor.h'),
                ('server/frontends/admin.cc', 'worker/sessions/store.h'),
                ('server/attention/calls.cc', 'worker/executor/executor.h'),
                ('worker/sessions/store.cc', 'worker/cache/books.h'),
                ('client/cpp/client.cc', 'server/frontends/admin.h'),
                ('client/cli/chat.cc', 'worker/executor/executor.h'),
                ('client/cli/session.h', 'server/scheduler/engine.h'),
                ('client/cpp/embedded_cluster.cc', 'server/dispatch/d.h'),
                ('server/scheduler/engine_test.cc', 'worker/cache/books.h'),
                ('model/model.cc', 'lab/train.h')]:
            with self.subTest(path=path, name=name):
                self.assert_found(path, f'\n#include "{name}"\n'
                                  if path.endswith('.cc')
                                  else header(path, f'#include "{name}"\n'),
                                  f'may not include {name}')

    def test_allowed_includes(self):
        for path, name in [
                ('model/files/gguf.cc', 'base/check.h'),
                ('worker/executor/run.cc', 'worker/cache/books.h'),
                ('worker/executor/run.cc', 'model/work_grid.h'),
                ('worker/service/edge.cc', 'worker/executor/executor.h'),
                ('server/coordinator/main.cc', 'server/frontends/admin.h'),
                ('server/scheduler/engine.cc', 'worker/step/step.h'),
                ('server/dispatch/link.cc', 'worker/step_wire/wire.h'),
                ('server/attention/merge.cc', 'worker/backends/cpu/kernels.h'),
                ('server/attention/calls.cc', 'worker/sessions/messages.h'),
                ('worker/executor/run.cc', 'worker/step/step.h'),
                ('client/cli/embedded_cluster.cc', 'server/dispatch/d.h'),
                ('client/cli/embedded_cluster.cc', 'worker/service/node.h'),
                ('client/cli/embedded_cluster_test.cc', 'worker/cache/b.h'),
                ('worker/cache/books_test.cc', 'tests/support/fake.h'),
                ('tests/cluster/kill_test.cc', 'server/scheduler/engine.h'),
                ('base/clock.cc', 'absl/time/time.h')]:
            with self.subTest(path=path, name=name):
                self.assert_clean(path, f'#include "{name}"\n')

    def test_an_include_in_a_comment_is_none(self):
        self.assert_clean('base/a.cc', '// #include "model/model.h"\n'
                          '/*\n#include "model/model.h"\n*/\n')

    def test_rpc_stays_at_the_edges(self):
        for name in ['<grpcpp/grpcpp.h>', '"headwise/v1/admin.pb.h"',
                     '"headwise/v1/admin.grpc.pb.h"',
                     '<google/protobuf/arena.h>']:
            line = f'#include {name}\n'
            self.assert_found('server/scheduler/engine.cc', line, 'edges')
            self.assert_found('worker/executor/run.cc', line, 'edges')
            for path in ['server/frontends/a.cc', 'server/dispatch/a.cc',
                         'server/membership/registry.cc',
                         'server/coordinator/main.cc',
                         'worker/service/a.cc', 'client/cpp/a.cc']:
                self.assert_clean(path, line)

    def test_cuda_and_gloo_have_one_home(self):
        self.assert_found('worker/cache/a.cc', '#include <cuda_runtime.h>\n',
                          'CUDA')
        self.assert_clean('worker/backends/cuda/a.cc',
                          '#include <cuda_runtime.h>\n')
        self.assert_clean('worker/collectives/nccl_group.cc',
                          '#include <nccl.h>\n')
        self.assert_found('worker/executor/a.cc', '#include <gloo/math.h>\n',
                          'gloo')

    def test_bookkeeping_has_no_threads(self):
        text = 'void Run() { std::thread t([] {}); }\n'
        for folder in ['server/scheduler', 'server/placement',
                       'worker/attention', 'worker/cache']:
            self.assert_found(f'{folder}/a.cc', text, 'no threads of its own')
        self.assert_clean('server/scheduler/engine.cc', text)
        self.assert_clean('server/scheduler/a_test.cc', text)
        self.assert_found('server/scheduler/engineer.cc', text, 'no threads')
        self.assert_clean('worker/cache/a.cc', '// std::thread\n')


class TextTest(RuleTest):

    def test_lines(self):
        self.assert_found('base/a.cc', 'int a;  // ' + 'x' * 70 + '\n',
                          '81 columns')
        self.assert_clean('base/a.cc', 'int a;  // ' + 'x' * 69 + '\n')
        self.assert_clean('base/a.cc', '// ' + 'é' * 77 + '\n')
        self.assert_clean('base/a.cc', '// https://' + 'x' * 80 + '\n')
        self.assert_clean('base/a.cc',
                          'auto a = R"(\n' + 'x' * 90 + '\n\ty \n)";\n')
        self.assert_found('base/a.cc', '\tint a;\n', 'tab')
        self.assert_found('base/a.cc', 'int a; \n', 'space at the end')

    def test_last_newline(self):
        self.assert_found('base/a.cc', 'int a;', 'exactly one newline')
        self.assert_found('docs/a.md', 'text\n\n', 'exactly one newline')
        self.assert_clean('base/a.cc', '')

    def test_todo_names_an_issue(self):
        self.assert_found('base/a.cc', '// TODO: later\n', 'without an issue')
        self.assert_found('base/a.cc', '// TODO(me): x\n', 'without an issue')
        self.assert_clean('base/a.cc', '// TODO(#12): later\n')

    def test_length(self):
        def check(count, allowlist):
            return list(rules_text.check_length(
                'base/a.cc', 'int a;\n' * count, allowlist))
        self.assertEqual([], check(400, {}))
        self.assertIn('limit 400', check(401, {})[0][1])
        self.assertEqual([], check(600, {'base/a.cc': 'a table'}))
        self.assertIn('hard limit', check(601, {'base/a.cc': 'a table'})[0][1])

    def test_names(self):
        for path in ['base/utils.h', 'worker/common/a.cc', 'base/io_util.cc',
                     'server/helpers/a.cc', 'misc/a.txt']:
            self.assertTrue(list(rules_text.check_name(path)), path)
        self.assertTrue(list(rules_text.check_name('base/Clock.cc')))
        for path in ['worker/collectives/gloo_headers/gloo/common/memory.h',
                     'base/mutilate.cc', 'base/commonmark.cc', 'README.md']:
            self.assertEqual([], list(rules_text.check_name(path)))

    def test_long_python_function(self):
        text = 'def f():\n' + '    pass\n' * 70
        self.assert_found('bench/a.py', text, 'function of 71 lines')


class CppTest(RuleTest):

    def test_guard(self):
        good = header('base/a.h', 'int a;\n')
        self.assert_clean('base/a.h', good)
        self.assert_found('base/b.h', good, 'HEADWISE_BASE_B_H_')
        self.assert_found('base/a.h', '#pragma once\n', 'HEADWISE_BASE_A_H_')
        self.assert_found('base/a.h', good.replace('  // HEADWISE', ' // H'),
                          'must end with')

    def test_using_namespace(self):
        line = 'using namespace std;\n'
        self.assert_found('base/a.h', header('base/a.h', line), 'in a header')
        self.assert_clean('base/a.cc', line)

    def test_vocabulary(self):
        for word in ['seq_len', 'max_seq_len', 'kv_len_', 'head_size',
                     'n_heads', 'n_kv_heads', 'hidden_size', 'n_embd',
                     'page_tables', 'gqa_factor', 'nranks', 'qo_heads']:
            self.assert_found('base/a.cc', f'int {word} = 0;\n',
                              'is not our word')
        for text in ['int num_kv_heads;\n', 'int kv_heads;\n',
                     'Get("n_embd");\n', '// n_embd is theirs\n',
                     'int ahead_size;\n', 'int in_kv;\n']:
            self.assert_clean('base/a.cc', text)
        self.assert_found('proto/a.proto', 'int64 seq_len = 1;\n', 'our word')

    def test_mutex_guards_something(self):
        self.assert_clean('base/a.cc', 'class A {\n  absl::Mutex mutex_;\n'
                          '  int n_ ABSL_GUARDED_BY(mutex_) = 0;\n};\n')
        self.assert_found('base/a.cc', 'class A {\n  mutable absl::Mutex m_;\n'
                          '  int n_ = 0;\n};\n', 'A::m_ guards no field')
        # Another class's annotation does not count, nor one in a comment.
        self.assert_found('base/a.cc', 'struct B {\n  absl::Mutex m;\n'
                          '  // ABSL_GUARDED_BY(m)\n};\n'
                          'struct C {\n  int n ABSL_GUARDED_BY(m);\n};\n',
                          'B::m guards no field')
        self.assert_found('base/a.cc', 'class A {\n  absl::Mutex a_, b_;\n'
                          .replace(', b_', ';\n  absl::Mutex b_') +
                          '  int n_ ABSL_GUARDED_BY(a_);\n'
                          '  int m_ ABSL_GUARDED_BY(b_);\n};\n',
                          'more than one mutex')
        self.assert_clean('base/a_test.cc', 'void F() { absl::Mutex m; }\n')

    def test_standard_locks(self):
        self.assert_found('base/a.cc', 'std::mutex m;\n', 'absl::Mutex')
        self.assert_clean('base/a_test.cc', 'std::mutex m;\n')


def long_body(count, indent='  '):
    return f'{indent}Call();\n' * count


class FunctionLengthTest(RuleTest):

    def lengths(self, text):
        return [(line, count) for line, count, _ in rules_cpp.long_functions(
            cpp_text.Source(text))]

    def test_counts_from_signature_to_brace(self):
        self.assertEqual([], self.lengths(
            'int F() {\n' + long_body(68) + '}\n'))
        self.assertEqual([(1, 71)], self.lengths(
            'int F() {\n' + long_body(69) + '}\n'))
        self.assertEqual([(3, 72)], self.lengths(
            '// Comment.\n\nint F(int a,\n      int b) {\n' +
            long_body(69) + '}\n'))

    def test_finds_the_function_and_not_what_is_around_it(self):
        for before, line in [
                ('namespace a {\n', 2),
                ('namespace {\nnamespace b::c {\n', 3),
                ('extern "C" {\n', 2),
                ('class A final : public B<int> {\n public:\n', 3),
                ('template <typename T>\nstruct A {\n', 3),
                ('struct ABSL_LOCKABLE A {\n', 2),
                ('struct alignas(64) A {\n', 2),
                ('enum class E { kA, kB };\nconst int x[] = {1, 2};\n', 3),
                ('struct P { int a = 0; };\n', 2),
                ('#define F(x) \\\n  if (x) {\n', 3)]:
            text = before + 'void G() {\n' + long_body(69) + '}\n'
            self.assertEqual([(line, 71)], self.lengths(text), before)

    def test_signatures(self):
        for signature in [
                'A::A(int a) : a_(a), b_{1} {',
                'template <typename T>\nstd::vector<T> F(T t) noexcept {',
                'TEST(Suite, Name) {',
                'auto F() -> std::map<int, int> {',
                'bool operator()(int a) const override {',
                'static struct stat Get(const char* path) {']:
            first = signature.count('\n')
            text = signature + '\n' + long_body(69 - first) + '}\n'
            self.assertEqual([(1, 71)], self.lengths(text), signature)

    def test_braces_in_literals_and_comments_count_for_nothing(self):
        text = ('int F() {\n  a = "}"; b = \'}\'; c = R"x(}})x";  // }\n'
                '  if (1\'000) { n = 2\'000\'000; /* } */ }\n' +
                long_body(67) + '}\n')
        self.assertEqual([(1, 71)], self.lengths(text))

    def test_inner_blocks_and_lambdas_belong_to_the_function(self):
        text = ('int F() {\n  for (int i = 0; i < 3; ++i) {\n'
                '    auto g = [&](int a) {\n' + long_body(66, '      ') +
                '    };\n  }\n}\n')
        self.assertEqual([(1, 72)], self.lengths(text))

    def test_many_short_functions_are_not_one_long_one(self):
        text = ('class A {\n public:\n' +
                '  int F() const { return f_; }\n' * 100 + '};\n')
        self.assertEqual([], self.lengths(text))

    def test_excuse(self):
        text = ('// tidy: long because the table is one thought\n'
                'int F() {\n' + long_body(80) + '}\n')
        found, excused = tidy.check_file('base/a.cc', text, {})
        self.assertEqual([], found)
        self.assertEqual([(2, 82)], excused)
        # The word alone is no reason.
        self.assert_found('base/a.cc', text.replace(
            ' the table is one thought', ''), 'function of 82 lines')


class TreeTest(unittest.TestCase):

    def test_top_level(self):
        paths = [f'f{n}/a.cc' for n in range(17)] + ['.ci/run', '.gitignore']
        self.assertEqual([], list(rules_tree.check_top_level(paths)))
        self.assertIn('18 visible', list(rules_tree.check_top_level(
            paths + ['one_more']))[0][2])

    def test_decisions(self):
        good = 'docs/decisions/2026-11-24-use-cli11-and-utf8proc.md'
        self.assertEqual([], list(rules_tree.check_decisions([good])))
        for bad in ['docs/decisions/use-cli11.md', good.replace('.md', '.txt'),
                    'docs/decisions/2026-11-24-Use-CLI11.md',
                    'docs/decisions/2026-11-24.md']:
            self.assertTrue(list(rules_tree.check_decisions([bad])), bad)

    def test_readme(self):
        good = '# H\n\n```\n./run.sh\n./test.sh\n```\n'
        self.assertEqual([], list(rules_tree.check_readme({'README.md': good})))
        for bad in ['# H\n', good.replace('./test.sh', 'make'),
                    '\n' * 30 + good]:
            self.assertTrue(list(rules_tree.check_readme({'README.md': bad})))
        self.assertTrue(list(rules_tree.check_readme({})))

    def test_dead_files(self):
        texts = {'base/a.cc': '', 'base/CMakeLists.txt': 'add_library(x a.cc)'}
        self.assertEqual([], list(rules_tree.check_dead_files(texts)))
        for bad in ['add_library(x aa.cc)', '# a.cc', '']:
            texts['base/CMakeLists.txt'] = bad
            self.assertEqual(1, len(list(rules_tree.check_dead_files(texts))))

    def test_allowlist(self):
        def check(allowlist):
            return [what for _, _, what in rules_tree.check_allowlist(
                allowlist, {'a.cc': 'x\n' * 401, 'b.cc': 'x\n'}, 400)]
        self.assertEqual([], check({'a.cc': 'one table'}))
        self.assertIn('no reason', check({'a.cc': ''})[0])
        self.assertIn('within the limit', check({'b.cc': 'why'})[0])
        self.assertIn('no such file', check({'c.cc': 'why'})[0])


class ProgramTest(unittest.TestCase):
    """The program over a small tree without git."""

    def run_tidy(self, files):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                path = pathlib.Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            program = pathlib.Path(__file__).with_name('tidy.py')
            return subprocess.run([sys.executable, '-B', program, folder],
                                  capture_output=True, text=True, check=False)

    def test_clean_tree_passes_and_a_bad_one_fails(self):
        files = {'README.md': '```\n./run.sh\n./test.sh\n```\n',
                 'base/CMakeLists.txt': 'add_library(x a.cc)\n',
                 'base/a.cc': 'int a;\n',
                 'build/release/generated.cc': '\t\n'}
        result = self.run_tidy(files)
        self.assertEqual((0, '3 files, 0 findings\n'),
                         (result.returncode, result.stdout))
        files['base/a.cc'] = '#include "model/model.h"\n'
        result = self.run_tidy(files)
        self.assertEqual(1, result.returncode)
        self.assertIn('base/a.cc:1: base may not include model/model.h',
                      result.stdout)


if __name__ == '__main__':
    unittest.main()
