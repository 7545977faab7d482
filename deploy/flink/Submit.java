// Submits one of the jobs beside it to a Flink cluster. Enters: a file of SQL, FLINK_CONF_DIR, and a variable of the environment for each ${NAME} in the
// SQL. Leaves: one job for every INSERT of the file. It waits for nothing: the cluster runs the job.
//
//   java -cp "$FLINK_HOME/lib/*" Submit.java budgets.sql
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.GlobalConfiguration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.StatementSet;
import org.apache.flink.table.api.TableEnvironment;

public class Submit {
    public static void main(String[] args) throws Exception {
        String text = Files.readString(Path.of(args[0])).replaceAll("(?m)^\\s*--.*$", "");
        String sql = Pattern.compile("\\$\\{(\\w+)\\}").matcher(text).replaceAll(found -> {
            String value = System.getenv(found.group(1));
            if (value == null) throw new IllegalArgumentException(args[0] + " needs the variable " + found.group(1));
            return Matcher.quoteReplacement(value);
        });
        Configuration config = GlobalConfiguration.loadConfiguration();
        config.setString("execution.target", "remote");
        config.setString("pipeline.name", "outflow " + Path.of(args[0]).getFileName());
        TableEnvironment tables = TableEnvironment.create(
                EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(config).build());
        StatementSet inserts = tables.createStatementSet();
        for (String statement : sql.split(";")) {
            if (statement.isBlank()) continue;
            Matcher set = Pattern.compile("\\s*SET\\s+'([^']+)'\\s*=\\s*'([^']*)'\\s*").matcher(statement);
            if (set.matches()) tables.getConfig().set(set.group(1), set.group(2));
            else if (statement.strip().startsWith("INSERT")) inserts.addInsertSql(statement);
            else tables.executeSql(statement);
        }
        System.out.println("submitted " + inserts.execute().getJobClient().orElseThrow().getJobID());
    }
}
